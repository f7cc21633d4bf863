"""`portside put`: store files on a node and check the receipts."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from portside.client import UploadError, login
from portside.client.http.errors import ControlError
from portside.client.upload.claims import DEFAULT_NAMESPACE
from portside.client.upload.parallel import MOST_WORKERS
from portside.client.upload.source import STDIN
from portside.commands.common import (
    INTERRUPTED,
    UNAVAILABLE,
    USAGE,
    control_plane,
    duration_option,
    exit_code,
    printable,
    say,
    size_option,
)
from portside.commands.put_by_session import NotSafe, ThroughControl
from portside.commands.put_to_node import ToNode
from portside.commands.sending import Manner
from portside.commands.target import given_token, target_of
from portside.quantities import format_duration, format_size
from portside.tokens import TokenRefused
from portside.tracing import context, current
from portside.wire.control import FileView
from portside.wire.fields import Layout
from portside.wire.files import StoredFile

DEFAULT_WAIT = 3600
"""Seconds that `--wait` waits: copying many GB over a rate limit may take that long."""


class Way(Protocol):
    """How files are stored."""

    def store(self, path: Path) -> StoredFile:
        """Store one file, its receipt verified."""

    def settle(self, path: Path, stored: StoredFile) -> FileView | None:
        """What is left to do once it is stored; returns what the control plane says of it."""


def command(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="What to store: files, disks, pipes; '-' is standard input."
        ),
    ],
    node: Annotated[
        str | None,
        typer.Option(
            help="The storage node, as s01; without it the one that the control plane names after "
            "`portside login URL`, else the cluster's first one.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            help="What it is called once it is stored, in place of the file's own name.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[str, typer.Option(help="First folder of its path.")] = DEFAULT_NAMESPACE,
    layout: Annotated[
        Layout, typer.Option(help="dated: names never clash. named: the URL is known ahead.")
    ] = "dated",
    owner: Annotated[
        str, typer.Option(help="Whose file it is.", show_default="your user name")
    ] = "",
    expires_in: Annotated[
        int | None,
        typer.Option(
            parser=duration_option,
            metavar="TIME",
            help="It ends by itself so long after it is stored, as 7d or 12h.",
            show_default=False,
        ),
    ] = None,
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
    max_size: Annotated[
        int | None,
        typer.Option(
            parser=size_option,
            metavar="SIZE",
            help="The most that a stream of unknown length brings: so much room is kept for it.",
            show_default="what the cluster takes at most",
        ),
    ] = None,
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
            help="Authority to trust; without it the login's, or the cluster file's (the lab's "
            "own, or tls.authority), else the system's.",
            show_default=False,
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Wait until as many nodes have it as should: until `safe`."),
    ] = False,
    timeout: Annotated[
        int,
        typer.Option(
            parser=duration_option,
            metavar="DURATION",
            help="How long --wait waits for each file.",
            show_default="1h",
        ),
    ] = DEFAULT_WAIT,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file, instead of its URL.")
    ] = False,
    file: Annotated[
        Path | None, typer.Option("--cluster", help="The cluster file.", show_default=False)
    ] = None,
) -> None:
    """Store files on a node, each with a receipt whose signature is checked.

    After `portside login` the control plane names the node, or says whether the one of --node
    takes files, and hears of the file; with --url, --cluster or a token, files go straight there.

    A large file goes on where it was cut off: by itself, and after an end of this program when the
    same command is given again. What that takes lies in $XDG_STATE_HOME/portside until it is done.
    A stream (`-`, a pipe) goes on by itself as well, but can't be read again by another command.

    The URL of each file goes to stdout, everything else to stderr. A file that fails doesn't stop
    the others; the exit code is the highest of theirs:

    \b
      0  all stored, all receipts verified
      2  wrong usage, or a file here that can't be read or changed meanwhile
      3  refused (4xx): sending the same again won't help
      4  node or control plane not reached, connection lost, node full or failing (5xx), or another
         process is sending the same file: may be tried again; with --wait: stored, but not safe
      5  the receipt doesn't verify: don't trust this upload
      130  interrupted
    """
    if parallel > 1 and no_resume:
        raise typer.BadParameter("parts need uploads that can be resumed", param_hint="--parallel")
    if name is not None and len(files) > 1:
        raise typer.BadParameter("a name is for one file", param_hint="--name")
    if files.count(STDIN) + (token_file == STDIN) > 1:
        raise typer.BadParameter("standard input can be read once only", param_hint="'-'")
    given = given_token(token_file)
    if given and len(files) > 1:
        raise typer.BadParameter("a token is for one file", param_hint="FILE...")
    manner = Manner(
        namespace,
        layout,
        owner or _user(),
        checksum,
        parallel,
        not no_resume,
        name,
        max_size,
        expires_in,
    )
    to_a_node = bool(given or url or file)
    with _way(to_a_node, given, node, url, ca, file, manner, timeout if wait else None) as way:
        codes = [_put(path, name or path.name, way, as_json) for path in files]
    raise typer.Exit(max(codes))


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # In a container a user id may have no name.
        raise typer.BadParameter(
            "your user has no name here: say whose file it is", param_hint="--owner"
        ) from None


@contextmanager
def _way(
    to_a_node: bool,
    token: str | None,
    node: str | None,
    url: str | None,
    ca: Path | None,
    file: Path | None,
    manner: Manner,
    wait: int | None,
) -> Iterator[Way]:
    """Through the control plane for whoever is logged in, unless it goes straight to a node."""
    found = None if to_a_node else login.current()
    if found is not None:
        with control_plane(found) as control:
            yield ThroughControl(control, ca or found.ca, manner, wait, node)
        return
    if wait is not None:
        raise typer.BadParameter(
            "only the control plane knows: run `portside login URL`, and give no token or URL",
            param_hint="--wait",
        )
    target = target_of(token, node, url, ca, file)
    with closing(target.client):
        yield ToNode(target, manner)


def _put(path: Path, label: str, way: Way, as_json: bool) -> int:
    """Store one file, for people `label`, and say how that went. Returns its exit code.

    All that is asked for it is one trace, so that one id finds it in every log.
    """
    # Whoever records traces at all is asked to record this one.
    trace = context.begin(sampled=True)
    with current.within(trace):
        return _put_traced(path, label, way, as_json, trace.trace_id)


def _put_traced(path: Path, label: str, way: Way, as_json: bool, trace_id: str) -> int:
    started = time.monotonic()
    try:
        stored = way.store(path)
    except (UploadError, ControlError, TokenRefused, ValueError) as error:
        code = exit_code(error)
        # A file that can't be read here is in nobody's log.
        traced = "" if code == USAGE else f" (trace {trace_id})"
        say(f"{path}: {_without_name(path, error)}{traced}")
        if as_json:
            failed = {"error": str(error), "trace_id": trace_id, "exit_code": code}
            _print_json({"file": str(path), **failed})
        return code
    except KeyboardInterrupt:
        say("interrupted before a receipt came: count the file as not stored")
        raise typer.Exit(INTERRUPTED) from None
    seconds = time.monotonic() - started
    speed = stored.size / max(seconds, 1e-6) / 1e6
    typer.echo(
        f"{printable(label)}: {format_size(stored.size)} stored and verified in "
        f"{format_duration(seconds)}, {speed:.1f} MB/s",
        err=True,
    )
    if not as_json:
        typer.echo(printable(stored.url))
    facts = {
        "file": str(path),
        **stored.model_dump(mode="json"),
        "seconds": round(seconds, 3),
        "trace_id": trace_id,
    }
    return _settled(path, stored, way, facts if as_json else None)


def _settled(path: Path, stored: StoredFile, way: Way, facts: dict[str, Any] | None) -> int:
    """What comes after the receipt; `facts` are printed with it. Returns the exit code."""
    code, more = 0, dict[str, str]()
    try:
        view = way.settle(path, stored)
        if view is not None:
            more["state"] = view.state
    except (NotSafe, ControlError) as error:
        code = UNAVAILABLE if isinstance(error, NotSafe) else exit_code(error)
        more["error"] = str(error)
        say(f"{path}: {error}")
    except KeyboardInterrupt:
        say(f"{path}: is stored; nobody waits for its copies any more")
        raise typer.Exit(INTERRUPTED) from None
    if facts is not None:
        _print_json({**facts, **more, "exit_code": code})
    return code


def _without_name(path: Path, error: Exception) -> str:
    return str(error).removeprefix(f"{path}: ")


def _print_json(facts: dict[str, Any]) -> None:
    typer.echo(json.dumps(facts))
