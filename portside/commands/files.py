"""`portside ls`, `rm`, `keep`, `restore`, `hold`, `release`: files are found and dealt with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer
from pydantic import ValidationError

from portside.client.control import Control
from portside.client.http.errors import ControlError, ControlRefused
from portside.commands.common import (
    control_plane,
    duration_option,
    exit_code,
    print_table,
    printable,
    say,
)
from portside.quantities import format_size
from portside.wire.control import FileView
from portside.wire.files import HoldRequest, LifetimeChange
from portside.wire.paths import file_id_in

PAGE = 500
"""Files of one request where more are wanted."""

_HEADERS = (
    "file",
    "state",
    "copies",
    "size",
    "committed",
    "expires",
    "namespace",
    "owner",
    "name",
)


_FileIds = Annotated[
    list[str],
    typer.Argument(metavar="FILE-ID...", help="As `ls` lists it, or the URL from `put`."),
]
_Reason = Annotated[
    str, typer.Option(help="Why, for people: one line, kept with the file.", show_default=False)
]


def ls(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Any part of the file's name.")
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Only of this namespace.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only of this owner.")] = None,
    after: Annotated[
        datetime | None,
        typer.Option(
            help="Committed later than this, as 2026-11-01 or 2026-11-01T12:30:00+01:00; UTC where "
            "it has no offset.",
            show_default=False,
        ),
    ] = None,
    before: Annotated[
        datetime | None,
        typer.Option(help="Committed earlier than this.", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most files to list.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Every file, without a limit.")] = False,
    cursor: Annotated[
        str | None, typer.Option(help="Go on where an earlier list ended.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object per file and line.")
    ] = False,
) -> None:
    """List files, newest first. What comes in meanwhile neither shifts nor doubles a line."""
    filters = {
        "name": name,
        "namespace": namespace,
        "owner": owner,
        "committed_after": _moment(after),
        "committed_before": _moment(before),
    }
    query = {key: value for key, value in filters.items() if value is not None}
    with control_plane() as control:
        listing = _Listing(control, query, None if everything else limit, cursor)
        if as_json:
            for view in listing:
                typer.echo(view.model_dump_json())
        else:
            print_table(_HEADERS, [_row(view) for view in listing])
    if listing.next is not None:
        say(f"there are more: --cursor {listing.next} goes on, --all lists every one")


def rm(
    file_ids: _FileIds,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete files, every copy of them. One that fails doesn't stop the others.

    A node that is down deletes its copy when it comes back.
    """
    with control_plane() as control:
        file_ids = [file_id_in(each) for each in file_ids]
        if not yes:
            _ask_before(control, file_ids)
        codes = [_delete(control, file_id) for file_id in file_ids]
    raise typer.Exit(max(codes))


def keep(
    file_ids: _FileIds,
    for_: Annotated[
        int | None,
        typer.Option(
            "--for",
            parser=duration_option,
            metavar="TIME",
            help="So long from now, as 30d or 12h; 0: it ends now.",
            show_default=False,
        ),
    ] = None,
    forever: Annotated[bool, typer.Option("--forever", help="It ends no more by itself.")] = False,
) -> None:
    """Say how long files live from now on. One that fails doesn't stop the others.

    One that has ended comes back, as long as its bytes are kept.
    """
    if (for_ is None) == (not forever):
        raise typer.BadParameter("give --for TIME or --forever", param_hint="--for")
    _change_all(file_ids, for_)


def restore(
    file_ids: _FileIds,
    for_: Annotated[
        int | None,
        typer.Option(
            "--for",
            parser=duration_option,
            metavar="TIME",
            help="It ends again so long from now; without it never.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Bring back files that ended by themselves, as long as their bytes are kept.

    That is a week, unless the cluster file says otherwise.
    """
    _change_all(file_ids, for_)


def _change_all(file_ids: list[str], seconds: int | None) -> None:
    wanted = {"expires_at": None} if seconds is None else {"expires_in": seconds}
    change = LifetimeChange.model_validate(wanted)
    with control_plane() as control:
        codes = [_change(control, file_id_in(each), change) for each in file_ids]
    raise typer.Exit(max(codes))


def _change(control: Control, file_id: str, change: LifetimeChange) -> int:
    try:
        view = control.change_lifetime(file_id, change)
    except ControlError as error:
        say(f"{file_id}: {error}")
        return exit_code(error)
    ends = view.expires_at
    say(f"{file_id}: " + ("stays" if ends is None else f"ends {ends:%Y-%m-%d %H:%M:%S} UTC"))
    return 0


def hold(file_ids: _FileIds, reason: _Reason = "") -> None:
    """Have files served to nobody until they are released: a takedown.

    The cluster's URLs of them refuse at once, each node with its next heartbeat, one that is away
    when it comes back. Downloads that run go on.
    """
    _say_of_each(file_ids, reason, held=True)


def release(file_ids: _FileIds, reason: _Reason = "") -> None:
    """Have files that are held served again."""
    _say_of_each(file_ids, reason, held=False)


class _Listing:
    """Files page by page, at most `limit`; afterwards `next` is where more would be."""

    def __init__(
        self, control: Control, query: dict[str, str], limit: int | None, cursor: str | None
    ) -> None:
        self.next = cursor
        self._control = control
        self._query = query
        self._left = limit

    def __iter__(self) -> Iterator[FileView]:
        while self._left is None or self._left > 0:
            size = PAGE if self._left is None else min(PAGE, self._left)
            at = {"cursor": self.next} if self.next is not None else {}
            page = self._control.files({**self._query, "limit": str(size), **at})
            if self._left is not None:
                self._left -= len(page.files)
            self.next = page.next
            yield from page.files
            if page.next is None or not page.files:
                return


def _moment(given: datetime | None) -> str | None:
    """As the API takes it (RFC 3339)."""
    if given is None:
        return None
    return (given if given.tzinfo else given.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")


def _state(view: FileView) -> str:
    """What holds for a file, and why nobody is served it."""
    if not view.held:
        return view.state
    scan = None if view.hold is None else view.hold.scan
    return f"{view.state}, {scan}" if scan in ("infected", "unscannable") else f"{view.state}, held"


def _row(view: FileView) -> tuple[str, ...]:
    present = sum(copy.state == "present" for copy in view.copies)
    cells = (
        view.file_id,
        _state(view),
        str(present),
        "-" if view.size is None else format_size(view.size),
        "-" if view.committed_at is None else f"{view.committed_at:%Y-%m-%d %H:%M:%S}",
        "-" if view.expires_at is None else f"{view.expires_at:%Y-%m-%d %H:%M:%S}",
        view.namespace,
        view.owner,
        view.name or "-",
    )
    return tuple(printable(cell) for cell in cells)


def _ask_before(control: Control, file_ids: list[str]) -> None:
    """Show what would be deleted and have it confirmed."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask: say --yes", param_hint="FILE-ID...")
    for file_id in file_ids:
        try:
            view = control.file(file_id)
        except ControlRefused:
            # It is told when its turn comes: the others may go all the same.
            continue
        size = "unknown size" if view.size is None else format_size(view.size)
        say(f"{file_id}: {view.name or 'without a name'}, {size}, of {view.owner}")
    typer.confirm(f"Delete {len(file_ids)} file(s) for good?", abort=True, err=True)


def _delete(control: Control, file_id: str) -> int:
    try:
        control.delete(file_id)
    except ControlError as error:
        say(f"{file_id}: {error}")
        return exit_code(error)
    say(f"{file_id}: deleted")
    return 0


def _say_of_each(file_ids: list[str], reason: str, *, held: bool) -> None:
    """One that fails doesn't stop the others."""
    try:
        note = HoldRequest(reason=reason).reason or ""
    except ValidationError:
        raise typer.BadParameter(
            "give one line of up to 200 characters", param_hint="--reason"
        ) from None
    with control_plane() as control:
        say_it = control.hold if held else control.release
        codes = [
            _say_of(file_id, partial(say_it, file_id, note))
            for file_id in (file_id_in(each) for each in file_ids)
        ]
    raise typer.Exit(max(codes))


def _say_of(file_id: str, say_it: Callable[[], FileView]) -> int:
    try:
        view = say_it()
    except ControlError as error:
        say(f"{file_id}: {error}")
        return exit_code(error)
    waits = f"; to be told yet: {', '.join(view.hold_waits_for)}" if view.hold_waits_for else ""
    say(f"{file_id}: {'held' if view.held else 'released'}{printable(waits)}")
    return 0
