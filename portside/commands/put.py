"""`portside put`: store files on a node and check the receipts."""

from __future__ import annotations

import getpass
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from portside.client import (
    AlreadyRunning,
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadError,
    Watcher,
    Wish,
    claims_for,
    put_resumable,
)
from portside.client.body import sha256_of
from portside.client.parallel import MOST_WORKERS
from portside.client.progress import Display, display
from portside.client.session import DEFAULT_NAMESPACE
from portside.commands.common import printable
from portside.commands.target import Target, given_token, target_of
from portside.quantities import MIB, format_duration, format_size
from portside.tokens import TokenRefused, mint_upload
from portside.wire import Layout, StoredFile

USAGE, REFUSED, UNAVAILABLE, UNVERIFIED, INTERRUPTED = 2, 3, 4, 5, 130

WHEN_READ = "checksum known"
WHEN_SENT = "verifying on the node"

RESUMABLE_FROM = 16 * MIB
"""Files larger than this are worth the three requests that an upload takes which can be resumed."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How each file is to be stored."""

    namespace: str
    layout: Layout
    owner: str
    checksum: bool
    parallel: int
    resume: bool

    def resumable(self, size: int) -> bool:
        """Whether a file of `size` bytes goes in an upload that a later run can go on with."""
        return self.resume and (size > RESUMABLE_FROM or self.parallel > 1)


def command(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="What to store.")],
    node: Annotated[
        str | None,
        typer.Option(help="The storage node, as s01; without it the cluster's first one."),
    ] = None,
    namespace: Annotated[str, typer.Option(help="First folder of its path.")] = DEFAULT_NAMESPACE,
    layout: Annotated[
        Layout, typer.Option(help="dated: names never clash. named: the URL is known ahead.")
    ] = "dated",
    owner: Annotated[
        str, typer.Option(help="Whose file it is.", show_default="your user name")
    ] = "",
    checksum: Annotated[
        bool,
        typer.Option(
            "--checksum", help="Read the file once before, so that the node checks its SHA-256."
        ),
    ] = False,
    parallel: Annotated[
        int,
        typer.Option(
            min=1,
            max=MOST_WORKERS,
            metavar="N",
            help="Send a large file in parts over N connections: where one alone is slow.",
            show_default=False,
        ),
    ] = 1,
    no_resume: Annotated[
        bool,
        typer.Option(
            "--no-resume",
            help="Send each file in one request: what is cut off begins again from the start.",
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A token for this one file ('-' is stdin); also taken from $PORTSIDE_TOKEN. "
            "Without one, the cluster's issuer key makes one.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The node's URL, if not the one of the cluster file.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="Authority to trust; without it the lab's own where tls.mode is lab, else the "
            "system's.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file, instead of its URL.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--cluster", help="The cluster file.", show_default=False)
    ] = None,
) -> None:
    """Store files on a node, each with a receipt whose signature is checked.

    A large file goes on where it was cut off: by itself, and after an end of this program when the
    same command is given again. What that takes lies in $XDG_STATE_HOME/portside until it is done.

    The URL of each file goes to stdout, everything else to stderr. A file that fails doesn't stop
    the others; the exit code is the highest of theirs:

    \b
      0  all stored, all receipts verified
      2  wrong usage, or a file here that can't be read or changed meanwhile
      3  refused by the node (4xx): sending the same again won't help
      4  node not reached, connection lost, node full or failing (5xx), or another process is
         sending the same file: may be tried again
      5  the receipt doesn't verify: don't trust this upload
    """
    if parallel > 1 and no_resume:
        raise typer.BadParameter("parts need uploads that can be resumed", param_hint="--parallel")
    given = given_token(token_file)
    if given and len(files) > 1:
        raise typer.BadParameter("a token is for one file", param_hint="FILE...")
    target = target_of(given, node, url, ca, file)
    manner = Manner(
        namespace, layout, owner or getpass.getuser(), checksum, parallel, not no_resume
    )
    try:
        codes = [_put(path, target, manner, as_json) for path in files]
    except KeyboardInterrupt:
        typer.echo(
            "portside: interrupted before a receipt came: count the file as not stored", err=True
        )
        raise typer.Exit(INTERRUPTED) from None
    finally:
        target.client.close()
    raise typer.Exit(max(codes))


def _put(path: Path, target: Target, manner: Manner, as_json: bool) -> int:
    """Store one file and say how that went. Returns its exit code."""
    started = time.monotonic()
    try:
        stored = _stored(path, target, manner)
    except (UploadError, TokenRefused, ValueError) as error:
        code = _exit_code(error)
        typer.echo(printable(f"portside: {path}: {_without_name(path, error)}"), err=True)
        if as_json:
            _print_json({"file": str(path), "error": str(error), "exit_code": code})
        return code
    seconds = time.monotonic() - started
    speed = stored.size / max(seconds, 1e-6) / 1e6
    typer.echo(
        f"{path.name}: {format_size(stored.size)} stored and verified in "
        f"{format_duration(seconds)}, {speed:.1f} MB/s",
        err=True,
    )
    if as_json:
        facts = stored.model_dump(mode="json")
        _print_json({"file": str(path), **facts, "seconds": round(seconds, 3), "exit_code": 0})
    else:
        typer.echo(printable(stored.url))
    return 0


def _stored(path: Path, target: Target, manner: Manner) -> StoredFile:
    size = _size_of(path)
    if manner.resumable(size):
        return _stored_resumably(path, size, target, manner)
    sha256 = _sha256(path, size) if manner.checksum else None
    token = target.token or _minted(path, size, sha256, target, manner)
    with display(path.name, size, WHEN_SENT) as shown:
        teller = _Teller(shown)
        return target.client.put(
            path, token, sha256=sha256, on_progress=teller.sent, on_wait=teller.waiting
        )


def _stored_resumably(path: Path, size: int, target: Target, manner: Manner) -> StoredFile:
    def mint() -> str:
        # Only where an upload begins is the file read before: one that goes on has its token.
        if not manner.checksum:
            return _minted(path, size, None, target, manner)
        shown.begin(WHEN_READ)
        known = sha256_of(path, shown.sent)
        shown.begin(WHEN_SENT)
        return _minted(path, size, known, target, manner)

    sha256 = _sha256(path, size) if manner.checksum and target.token else None
    with display(path.name, size, WHEN_SENT) as shown:
        try:
            return put_resumable(
                target.client,
                path,
                target.token or mint,
                kind=(manner.namespace, manner.layout, manner.owner),
                sha256=sha256,
                parallel=manner.parallel,
                watcher=_Teller(shown),
            )
        except KeyboardInterrupt:
            shown.say("the same command again goes on from here")
            raise


def _sha256(path: Path, size: int) -> str:
    with display(path.name, size, WHEN_READ) as shown:
        return sha256_of(path, shown.sent)


def _minted(path: Path, size: int, sha256: str | None, target: Target, manner: Manner) -> str:
    if target.cluster is None or target.keystore is None:
        raise AssertionError("a target without a token has a cluster")
    key = target.keystore.issuer_key()
    wish = Wish(
        node_id=target.node_id,
        owner=manner.owner,
        name=path.name,
        size=size,
        namespace=manner.namespace,
        layout=manner.layout,
        sha256=sha256,
    )
    return mint_upload(key, claims_for(target.cluster, key.owner, wish))


def _size_of(path: Path) -> int:
    try:
        if not path.is_file():
            raise LocalFileError(f"{path}: is no file" if path.exists() else f"{path}: not found")
        return path.stat().st_size
    except OSError as error:
        raise LocalFileError(f"{path}: {error.strerror}") from None


class _Teller(Watcher):
    """Shows an upload's progress; what comes from the node is made safe for a terminal."""

    def __init__(self, shown: Display) -> None:
        self._shown = shown

    def sent(self, count: int) -> None:
        self._shown.sent(count)

    def back_at(self, count: int) -> None:
        self._shown.back_at(count)

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        wait = format_duration(seconds)
        self._shown.stalled(f"{printable(str(reason))}; trying again in {wait}")

    def say(self, text: str) -> None:
        self._shown.say(printable(text))


def _exit_code(error: Exception) -> int:
    if isinstance(error, Refused):
        return REFUSED
    if isinstance(error, (NodeUnavailable, AlreadyRunning)):
        return UNAVAILABLE
    return UNVERIFIED if isinstance(error, ReceiptRefused) else USAGE


def _without_name(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")


def _print_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts))
