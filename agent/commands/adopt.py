"""`portside-agent adopt`: a folder of another system's files becomes stored ones, file by file."""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import shlex
import signal
import sqlite3
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, get_args

from agent.adoption.adopting import Adopter, Order, OrderEnded, Way
from agent.adoption.outcome import Summary
from agent.adoption.privileges import Privileges
from agent.adoption.run import Run, Steering, Stopped
from agent.adoption.walk import Walk
from agent.cluster import identity
from agent.cluster.issuers import Issuers
from agent.cluster.roster import Rosters
from agent.host.throttle import Throttle
from agent.index.database import Database
from agent.index.files import FileIndex
from agent.index.revocations import Revocations
from agent.integrity.recovery import replay, sweep_staging
from agent.settings import Settings
from agent.storage.commit import Committer
from agent.storage.opening import open_index
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.health import check_write
from portside import journal
from portside.names import CANARY
from portside.quantities import format_size, parse_size
from portside.redaction import redact
from portside.tokens import SigningKey, TokenRefused, verify_adoption
from portside.wire.claims import AdoptionClaims
from portside.wire.fields import Layout

DONE, LEFT, FAILED, INTERRUPTED = 0, 1, 3, 130

FROM_INPUT = "-"

_LONGEST = 8192
"""Characters of an order that are read: as long as a header."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for."""

    folder: Path
    namespace: str
    owner: str
    layout: Layout
    way: Way
    order: str
    rate: int | None
    """Bytes per second that are read; None is the scrubber's."""
    dry: bool
    in_json: bool
    tell_hooks: bool
    attended: bool
    """Whether the end of standard input ends the run."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Declare its arguments."""
    parser.description = (
        "Makes every regular file below FOLDER a stored one, with digest, attributes and receipt; "
        "copies follow as for uploads. Run it as root where files belong to others. The same "
        "command again goes on after an end of any kind. Exit code 0: all of them are stored; 1: "
        "some were left, each with a line; 3: not carried out to its end; 130: interrupted."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="whose files are adopted")
    parser.add_argument("--namespace", required=True, help="first folder of their paths")
    parser.add_argument("--owner", required=True, help="whose files they will be")
    parser.add_argument(
        "--order",
        default=FROM_INPUT,
        metavar="FILE|-",
        help="the issuer's order (docs/adopt.md) in a file that nobody else may read;"
        " - is standard input (default). A dry run needs none",
    )
    parser.add_argument(
        "--layout",
        choices=get_args(Layout),
        default="dated",
        help="dated: names never clash (default). named: a file is at NAMESPACE/NAME",
    )
    ways = parser.add_mutually_exclusive_group()
    for way, does in (
        ("move", "by their names, on the node's own filesystem; others are left"),
        ("copy", "by their bytes; the originals stay"),
        (
            "link",
            "by a second name. Under its first one, too, it is the agent's user's then, with the "
            "mode of stored files; who writes to that damages what is stored",
        ),
    ):
        ways.add_argument(f"--{way}", dest="way", action="store_const", const=way, help=does)
    parser.set_defaults(way="auto")
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="SIZE",
        help="bytes read in a second, as 200MiB (default: as fast as files are scrubbed)",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and why not"
    )
    parser.add_argument(
        "--hooks", action="store_true", help="tell hooks of each file, as of uploads"
    )
    parser.add_argument(
        "--attended",
        action="store_true",
        help="end as by Ctrl-C when standard input ends, for whoever runs this over SSH",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a file and line")


def _rate(text: str) -> int:
    try:
        rate = parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if rate <= 0:
        raise argparse.ArgumentTypeError("more than 0 is needed")
    return rate


def wish_of(arguments: argparse.Namespace) -> Wish:
    """What the command line says."""
    return Wish(
        folder=arguments.folder,
        namespace=arguments.namespace,
        owner=arguments.owner,
        layout=arguments.layout,
        way=arguments.way,
        order=arguments.order,
        rate=arguments.rate,
        dry=arguments.dry_run,
        in_json=arguments.json,
        tell_hooks=arguments.hooks,
        attended=arguments.attended,
    )


def run(settings: Settings, wish: Wish, stdin: TextIO) -> int:
    """Carry it out; the exit code is returned.

    Raises ValueError, IdentityError, NodeUnfit and OSError before anything is begun.
    """
    # Each file has its line below: the log's own lines are for what is wrong.
    journal.configure(logging.WARNING)
    # While this is root still: both may be nobody else's to read.
    token = None if wish.dry else _read_order(wish.order, stdin)
    key = identity.load(settings.node_key, settings.node_id)
    privileges = Privileges(settings.root)
    _must_be_another_systems(settings, wish.folder, privileges)
    with _alone(settings), _opened(settings) as database:
        rosters = Rosters(settings)
        order = _order(settings, wish, token, rosters)
        if not wish.dry:
            check_write(settings)
            _must_take_files(settings, rosters)
        steering = Steering(Throttle(wish.rate or settings.scrub_rate), _tell)
        adopter = _adopter(settings, database, key, privileges, order, wish, steering)
        own = frozenset((found.st_dev, found.st_ino) for found in map(os.stat, _own(settings)))
        walk = Walk(wish.folder, privileges, own)
        _heed_signals(steering)
        if wish.attended:
            _heed_end_of(stdin, steering)
        committer = Committer(settings, FileIndex(database), key)
        return _carry_out(Run(settings, adopter, walk, steering), wish, committer)


def _carry_out(run: Run, wish: Wish, committer: Committer) -> int:
    """`committer` is the agent's own: of uploads that were cut short hooks hear as always."""
    summary, code = Summary(), DONE
    try:
        if not wish.dry:
            # What an earlier run was cut short at: a name in staging would be a file's second one.
            database = run.adopter.database
            adopting = run.adopter.committer
            replay(run.settings, FileIndex(database), committer, adopting)
            sweep_staging(run.settings, database)
        run.plan()
        for outcome in run.outcomes(summary, dry=wish.dry):
            # Whoever watches sees each at once, and an interrupted run has told what it did.
            if wish.in_json:
                print(outcome.as_json(), flush=True)
            elif wish.dry or not outcome.is_ordinary:
                print(redact(outcome.line()), flush=True)
    except Stopped:
        summary.ended, code = "interrupted: the same command goes on", INTERRUPTED
    except (OrderEnded, DiskFull, DiskFailed, OSError, sqlite3.Error) as error:
        summary.ended, code = f"{error}", FAILED
    if wish.in_json:
        print(summary.as_json(), flush=True)
    _tell(_said(summary, wish))
    return code or (LEFT if summary.of("left") else DONE)


def _said(summary: Summary, wish: Wish) -> str:
    done: str = (
        f"{summary.of('would-be')} files would be adopted"
        if wish.dry
        else f"{summary.of('adopted')} files adopted, {summary.of('already')} were stored already"
    )
    ended = f"; {summary.ended}" if summary.ended else ""
    return f"{done} ({format_size(summary.bytes)}), {summary.of('left')} left{ended}"


def _tell(line: str) -> None:
    # Whoever has watched may be gone: no reason to leave off in the middle.
    with suppress(BrokenPipeError):
        print(f"portside-agent: {line}", file=sys.stderr, flush=True)


def _heed_signals(steering: Steering) -> None:
    """A commit that has begun is finished; what is only read is let go."""

    def stop(number: int, frame: object) -> None:
        steering.stopped = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    # Sent when somebody wants to write to a file that is being read (fcntl(2), leases).
    signal.signal(signal.SIGIO, signal.SIG_IGN)


def _heed_end_of(stdin: TextIO, steering: Steering) -> None:
    """A connection that is cut sends no signal to what it ran."""

    def wait() -> None:
        stdin.read()
        steering.stopped = True

    threading.Thread(target=wait, name="attendance", daemon=True).start()


def _adopter(
    settings: Settings,
    database: Database,
    key: SigningKey,
    privileges: Privileges,
    order: Order,
    wish: Wish,
    steering: Steering,
) -> Adopter:
    told = settings if wish.tell_hooks else settings.model_copy(update={"hooks": ()})
    return Adopter(
        settings=settings,
        database=database,
        committer=Committer(told, FileIndex(database), key),
        privileges=privileges,
        order=order,
        layout=wish.layout,
        way=wish.way,
        pace=steering.pace,
        refuse=Revocations(database).refuse,
    )


def _read_order(named: str, stdin: TextIO) -> str:
    """The order's token. Raises ValueError, OSError."""
    if named == FROM_INPUT:
        if stdin.isatty():
            _tell("paste the issuer's order, then Enter")
        return stdin.readline(_LONGEST).strip()
    path = Path(named)
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ValueError(f"{path}: others may read it, or write to it: chmod 600 {path}")
    return path.read_text(encoding="utf-8")[:_LONGEST].strip()


def _order(settings: Settings, wish: Wish, token: str | None, rosters: Rosters) -> Order:
    """What is allowed. Raises ValueError for what the order isn't for."""
    if wish.namespace == CANARY:
        raise ValueError(f"{CANARY} is the namespace of files that live for a moment: take another")
    if token is None:
        said = {"iss": "nobody", "aud": settings.node_id, "jti": "a-dry-run", "iat": 0, "nbf": 0}
        claims = AdoptionClaims.model_validate(
            {**said, "exp": 0, "namespace": wish.namespace, "owner": wish.owner}
        )
        return Order(claims, "")
    try:
        claims = verify_adoption(token, Issuers(settings, rosters).current(), settings.node_id)
    except TokenRefused as refused:
        raise ValueError(
            f"the order is not taken: {refused}; `portside token adoption --node "
            f"{settings.node_id} --namespace {wish.namespace} --owner {shlex.quote(wish.owner)}` "
            "mints one"
        ) from None
    if (claims.namespace, claims.owner) != (wish.namespace, wish.owner):
        raise ValueError(
            f"the order is for namespace {claims.namespace!r} and owner {claims.owner!r}, not "
            f"{wish.namespace!r} and {wish.owner!r}"
        )
    return Order(claims, token)


def _must_take_files(settings: Settings, rosters: Rosters) -> None:
    own = rosters.current().find(settings.node_id)
    if own is not None and own.state not in ("active", "down"):
        raise ValueError(f"{own.node_id} is {own.state}: it takes no new files")


def _own(settings: Settings) -> tuple[Path, ...]:
    """The folders that are the node's own."""
    folders = (settings.uploads, settings.staging, settings.quarantine, settings.ended)
    return (*folders, settings.index.parent)


def _must_be_another_systems(settings: Settings, folder: Path, privileges: Privileges) -> None:
    """Raise ValueError for what is no folder, or the node's own."""
    with privileges.as_root():
        if not folder.is_dir():
            raise ValueError(f"{folder}: there is no such folder")
        place = folder.resolve()
    for own in _own(settings):
        if place.is_relative_to(own.resolve()):
            raise ValueError(f"{folder} is in the node's own {own}: move it beside that first")


@contextmanager
def _opened(settings: Settings) -> Iterator[Database]:
    """Raises ValueError where stored files have lost their index: an empty one would hide them."""
    uploads = settings.uploads
    if not settings.index.exists() and uploads.is_dir() and any(uploads.iterdir()):
        raise ValueError(
            f"{settings.index} is gone: `portside-agent reindex` makes it anew from the files"
        )
    database = open_index(settings)
    try:
        yield database
    finally:
        database.close()


@contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """One run at a time: two would name each other's files as taken. Raises ValueError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(settings.index.parent / "adoption.lock", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ValueError("files are being adopted on this node already: wait for that") from None
    finally:
        os.close(descriptor)
