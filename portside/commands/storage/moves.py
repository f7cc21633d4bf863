"""`portside moves`: carry files from one pool to another, or level the nodes, and watch it."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

from portside.client.control import Control
from portside.commands.common import (
    REFUSED,
    UNAVAILABLE,
    ago,
    control_plane,
    duration_option,
    print_table,
    printable,
    say,
    size_option,
)
from portside.quantities import format_duration, format_size
from portside.wire.moves import MovePlan, MoveRequest, MoveView

app = typer.Typer(
    help="Carry files from pool to pool, or level the nodes.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

POLL_SECONDS = 1.0
"""Between two looks at a move that is watched."""

LINE_SECONDS = 10.0
"""A line this often keeps a log readable."""

_ENDED = ("cancelled", "done")
_HEADERS = ("move", "what", "state", "done", "failed", "skipped", "of", "begun")

Source = Annotated[
    str | None, typer.Argument(metavar="[FROM]", help="The pool the files are in, as s01.")
]
Target = Annotated[str | None, typer.Argument(metavar="[TO]", help="The pool they go to.")]
Rebalance = Annotated[
    bool, typer.Option("--rebalance", help="From the fullest nodes to others, instead of FROM TO.")
]
Band = Annotated[
    float, typer.Option(min=0.01, max=1, help="For --rebalance: how far used shares may differ.")
]
Namespace = Annotated[str | None, typer.Option(help="Only files of this namespace.")]
Owner = Annotated[str | None, typer.Option(help="Only files of this owner.")]
OlderThan = Annotated[
    int | None,
    typer.Option(parser=duration_option, metavar="DURATION", help="Committed so long ago, as 30d."),
]
MinSize = Annotated[
    int | None, typer.Option(parser=size_option, metavar="SIZE", help="Only so large, as 1GiB.")
]
Rate = Annotated[
    int | None,
    typer.Option(parser=size_option, metavar="SIZE", help="At most so much a second, as 50MiB."),
]
Hours = Annotated[
    str | None, typer.Option(help="Only in this part of the day (UTC), as 22:00-06:00.")
]
Watch = Annotated[bool, typer.Option("--watch", "-w", help="Show its progress until it ends.")]
MoveId = Annotated[str, typer.Argument(metavar="MOVE", help="As `moves list` names it.")]
AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]


@app.command()
def plan(
    source: Source = None,
    target: Target = None,
    rebalance: Rebalance = False,
    band: Band = 0.1,
    namespace: Namespace = None,
    owner: Owner = None,
    older_than: OlderThan = None,
    min_size: MinSize = None,
    rate: Rate = None,
    hours: Hours = None,
    as_json: AsJson = False,
) -> None:
    """Say what a move would do, and what speaks against it (exit code 3); nothing happens."""
    filters = _Filters(namespace, owner, older_than, min_size, rate, hours)
    wish = filters.request(source, target, rebalance, band)
    with control_plane() as control:
        planned = control.plan_move(wish)
    if as_json:
        typer.echo(planned.model_dump_json())
    else:
        _print_plan(planned)
    raise typer.Exit(REFUSED if planned.obstacles else 0)


@app.command()
def start(
    source: Source = None,
    target: Target = None,
    rebalance: Rebalance = False,
    band: Band = 0.1,
    namespace: Namespace = None,
    owner: Owner = None,
    older_than: OlderThan = None,
    min_size: MinSize = None,
    rate: Rate = None,
    hours: Hours = None,
    watch: Watch = False,
) -> None:
    """Begin a move; its id goes to stdout. No file has fewer copies than it should on the way."""
    filters = _Filters(namespace, owner, older_than, min_size, rate, hours)
    wish = filters.request(source, target, rebalance, band)
    with control_plane() as control:
        move = control.begin_move(wish)
        typer.echo(move.move_id)
        if watch:
            raise typer.Exit(_watch(control, move))


@app.command("list")
def list_moves(as_json: AsJson = False) -> None:
    """List every move, newest first."""
    with control_plane() as control:
        views = control.moves()
    if as_json:
        typer.echo(views.model_dump_json())
    else:
        print_table(_HEADERS, [_row(move) for move in views.moves])


@app.command()
def show(move_id: MoveId, watch: Watch = False, as_json: AsJson = False) -> None:
    """Say how far a move is, and which files it couldn't move."""
    with control_plane() as control:
        move = control.move(move_id)
        if watch:
            raise typer.Exit(_watch(control, move))
    if as_json:
        typer.echo(move.model_dump_json())
    else:
        _print_move(move)


@app.command()
def pause(move_id: MoveId) -> None:
    """Order no more copies; those that are under way still arrive."""
    with control_plane() as control:
        _say_state(control.steer_move(move_id, "pause"))


@app.command()
def resume(move_id: MoveId) -> None:
    """Go on with a move that was paused."""
    with control_plane() as control:
        _say_state(control.steer_move(move_id, "resume"))


@app.command()
def cancel(move_id: MoveId) -> None:
    """End a move. What it has moved stays moved."""
    with control_plane() as control:
        _say_state(control.steer_move(move_id, "cancel"))


class _Filters:
    """Which files, how fast and when: the options that `plan` and `start` share."""

    def __init__(
        self,
        namespace: str | None,
        owner: str | None,
        older_than: int | None,
        min_size: int | None,
        rate: int | None,
        hours: str | None,
    ) -> None:
        self._said = {
            "namespace": namespace,
            "owner": owner,
            "older_than": older_than,
            "min_size": min_size,
            "bytes_per_second": rate,
            "hours": hours,
        }

    def request(
        self, source: str | None, target: str | None, rebalance: bool, band: float
    ) -> MoveRequest:
        """The wish as it travels. Raises ValueError, in words for people."""
        kind = "rebalance" if rebalance else "move"
        given = {"kind": kind, "source": source, "target": target, "band": band, **self._said}
        try:
            return MoveRequest.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            what = first["msg"].removeprefix("Value error, ")
            raise ValueError(f"{where}: {what}" if where else what) from None


def _print_plan(planned: MovePlan) -> None:
    # A rebalance chooses its files one after the other, as it goes on.
    files = f"{planned.files} files, " if planned.files else ""
    typer.echo(f"to move: {files}{format_size(planned.bytes)}")
    if planned.already_there:
        typer.echo(f"already at the target: {planned.already_there}")
    if planned.conflicts:
        typer.echo(f"skipped, for another file has their path there: {planned.conflicts}")
    if planned.target_free is not None:
        typer.echo(f"free at the target: {format_size(planned.target_free)}")
    for obstacle in planned.obstacles:
        typer.echo(printable(f"obstacle: {obstacle}"))


def _print_move(move: MoveView) -> None:
    facts = {
        "move": move.move_id,
        "what": _what(move),
        "state": move.state,
        "progress": _line(move),
        "moved": f"{format_size(move.progress.done_bytes)} of about "
        f"{format_size(move.progress.planned_bytes)}",
        "speed": move.bytes_per_second and f"at most {format_size(move.bytes_per_second)} a second",
        "rate": move.rate and f"{format_size(move.rate)} a second",
        "to go": move.seconds_left and f"about {format_duration(move.seconds_left)}",
        "hours": move.hours and f"{move.hours} UTC",
        "note": move.note,
        "begun": ago(move.created_at),
        "ended": move.ended_at and ago(move.ended_at),
    }
    for name, fact in facts.items():
        if fact:
            typer.echo(printable(f"{name + ':':10}{fact}"))
    for report in move.reports:
        typer.echo(printable(f"  {report.file_id} {report.outcome}: {report.detail}"))


def _row(move: MoveView) -> tuple[str, ...]:
    progress = move.progress
    counts = (progress.done, progress.failed, progress.skipped, progress.planned)
    return (move.move_id, _what(move), move.state, *map(str, counts), ago(move.created_at))


def _what(move: MoveView) -> str:
    return "rebalance" if move.kind == "rebalance" else f"{move.source} to {move.target}"


def _line(move: MoveView) -> str:
    progress = move.progress
    counts = {
        "copying": progress.copying,
        "waiting": progress.waiting,
        "failed": progress.failed,
        "skipped": progress.skipped,
    }
    said = [f"{count} {name}" for name, count in counts.items() if count]
    return ", ".join([f"{progress.done} of {progress.planned} files", *said])


def _say_state(move: MoveView) -> None:
    say(f"move {move.move_id} ({_what(move)}) is {move.state}: {_line(move)}")


def _watch(control: Control, move: MoveView) -> int:
    """Show the move until it ends. Returns 0 when every file went, 3 cancelled, 4 some failed."""
    if sys.stdout.isatty() and sys.stderr.isatty():
        move = _watch_bar(control, move)
    else:
        move = _watch_lines(control, move)
    _say_state(move)
    for report in move.reports:
        say(f"{report.file_id} {report.outcome}: {report.detail}")
    if move.state == "cancelled":
        return REFUSED
    return UNAVAILABLE if move.progress.failed else 0


def _watch_bar(control: Control, move: MoveView) -> MoveView:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(_what(move), total=move.progress.planned)
        while move.state not in _ENDED:
            progress = move.progress
            gone = progress.done + progress.failed + progress.skipped
            told = move.note or f"{move.state}, {format_size(progress.done_bytes)} moved"
            bar.update(
                task,
                completed=gone,
                total=max(progress.planned, gone),
                description=printable(f"{_what(move)}: {told}"),
            )
            time.sleep(POLL_SECONDS)
            move = control.move(move.move_id)
    return move


def _watch_lines(control: Control, move: MoveView) -> MoveView:
    begun = told_at = time.monotonic()
    while move.state not in _ENDED:
        time.sleep(POLL_SECONDS)
        move = control.move(move.move_id)
        now = time.monotonic()
        if now - told_at >= LINE_SECONDS:
            note = f" ({move.note})" if move.note else ""
            say(f"{_what(move)}: {_line(move)}, {format_duration(now - begun)} so far{note}")
            told_at = now
    return move
