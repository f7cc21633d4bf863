"""What every command group shares: cluster and control plane that are meant, exit codes, tables."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from portside.client import login
from portside.client.control import Control
from portside.client.http.errors import (
    AlreadyRunning,
    ControlRefused,
    ControlUnavailable,
    DamagedCopy,
    DownloadError,
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
)
from portside.client.login import Login, NotLoggedIn
from portside.cluster.file import Cluster, NoClusterFile, find, load
from portside.operator.keystore import Keystore
from portside.quantities import format_duration, parse_duration, parse_size
from portside.redaction import redact

USAGE, REFUSED, UNAVAILABLE, UNVERIFIED, INTERRUPTED = 2, 3, 4, 5, 130

ID_MAY_BEGIN_WITH_A_DASH = {"ignore_unknown_options": True}
"""For commands that are given ids of keys or tokens: what is no option of theirs is an id."""

_CODES: tuple[tuple[type[Exception], int], ...] = (
    (Refused, REFUSED),
    (ControlRefused, REFUSED),
    (NodeUnavailable, UNAVAILABLE),
    (ControlUnavailable, UNAVAILABLE),
    (AlreadyRunning, UNAVAILABLE),
    (ReceiptRefused, UNVERIFIED),
    (DamagedCopy, UNVERIFIED),
    (DownloadError, UNAVAILABLE),
    (LocalFileError, USAGE),
)

_GAP = 3
"""Columns of a terminal between two of an adorned table, at most."""

_LAST_COLUMN = 16
"""Columns of a terminal that the last one of a table needs at least, for its text can be folded."""

ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--cluster",
        help="The cluster file. Without it: $PORTSIDE_CLUSTER, else cluster.yaml in the current "
        "folder, else clusters/lab.yaml there.",
        show_default=False,
    ),
]


def size_option(text: str) -> int:
    """Bytes of an option written as 2GiB."""
    return _parsed(parse_size, text)


def duration_option(text: str) -> int:
    """Seconds of an option written as 15m."""
    return _parsed(parse_duration, text)


def _parsed(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def cluster_path(file: Path | None) -> Path:
    """The cluster file that is meant. Raises ClusterError where nothing says which."""
    if file is not None:
        return file.expanduser()
    try:
        return find(Path.cwd())
    except NoClusterFile as error:
        raise error.advise(
            "or with --cluster; who has an API key of the control plane needs no cluster file: "
            "`portside login URL`"
        ) from None


def load_cluster(file: Path | None) -> Cluster:
    """The cluster that is meant. Raises ClusterError."""
    return load(cluster_path(file))


def keystore_of(loaded: Cluster) -> Keystore:
    """The cluster's secrets: beside its file, wherever the command runs."""
    return Keystore.for_cluster(loaded, Path.cwd())


def exit_code(error: Exception) -> int:
    """What a script is told of an error; whatever isn't named here is wrong usage."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), USAGE)


def say(text: str) -> None:
    """A line for people on stderr, safe for a terminal and without a token in it."""
    typer.echo(printable(redact(f"portside: {text}")), err=True)


def the_login() -> Login:
    """The login in force. Raises NotLoggedIn."""
    found = login.current()
    if found is None:
        raise NotLoggedIn(
            "not logged in: run `portside login URL` with the control plane's URL and an API key, "
            "or set PORTSIDE_URL and PORTSIDE_API_KEY"
        )
    return found


@contextmanager
def control_plane(given: Login | None = None) -> Iterator[Control]:
    """The control plane that is meant, its connections closed at the end. Raises NotLoggedIn."""
    found = given or the_login()
    control = Control(found.url, found.api_key, found.ca, _tell_waiting)
    try:
        yield control
    finally:
        control.close()


def _tell_waiting(seconds: float, reason: str) -> None:
    # A moment isn't worth a line.
    if seconds > 1:
        say(f"{reason}; trying again in {format_duration(seconds)}")


def ago(moment: datetime | None) -> str:
    """`12s ago`, by this machine's clock; `never` for None."""
    if moment is None:
        return "never"
    return f"{format_duration((datetime.now(UTC) - moment).total_seconds())} ago"


def printable(text: str) -> str:
    """Text from elsewhere without control characters: it must not be able to move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: adorned on a terminal that is wide enough, plain anywhere else.

    No cell is cut short or broken but the last one's: what others hold is given to other commands.
    """
    widths = [
        max(cell_len(line[column]) for line in (headers, *rows)) for column in range(len(headers))
    ]
    if sys.stdout.isatty():
        console = Console()
        if sum(width + _GAP for width in widths[:-1]) + _LAST_COLUMN <= console.width:
            console.print(_adorned(headers, rows), markup=False)
            return
    for line in (headers, *rows):
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def _adorned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, header in enumerate(headers, 1):
        is_last = number == len(headers)
        table.add_column(header, no_wrap=not is_last, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
