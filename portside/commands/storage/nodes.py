"""`portside nodes` and `portside repair`: how the cluster's nodes are, and what lacks copies."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Annotated

import typer

from portside.client.control import Control
from portside.commands.common import ago, control_plane, print_table, printable
from portside.quantities import format_duration, format_size
from portside.wire.control import DrainProgress, NodeView, RepairView
from portside.wire.heartbeat import Heartbeat

POLL_SECONDS = 5.0
"""Between two looks at a drain that is watched: nodes report as often while they have work."""

_UNKNOWN = "-"

_HEADERS = ("node", "state", "health", "free", "used", "slots", "lag", "heard")


def command(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="One of them, with all there is to say.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Of NODE: its drain, until its end.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="What the control plane knows, as one JSON object.")
    ] = False,
) -> None:
    """List the storage nodes: state, health with reasons, space, uploads, replication lag.

    A node that drains says how far it is, what blocks it, and when it may be retired.
    """
    if watch and node is None:
        raise typer.BadParameter("say which NODE", param_hint="--watch")
    with control_plane() as control:
        if node is None:
            views = control.nodes()
        elif watch:
            view = watch_drain(control, node, lambda line: typer.echo(printable(line)))
        else:
            view = control.node(node)
    if node is None:
        if as_json:
            typer.echo(views.model_dump_json())
        else:
            print_table(_HEADERS, [_row(each) for each in views.nodes])
    elif as_json:
        typer.echo(view.model_dump_json())
    elif not watch:
        for line in _about(view):
            typer.echo(printable(line))


def repair(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say which files lack copies, how many are being made, and what keeps others from it."""
    with control_plane() as control:
        view = control.repair()
    if as_json:
        typer.echo(view.model_dump_json())
        return
    for line in repair_lines(view):
        typer.echo(printable(line))


def _about(node: NodeView) -> Iterator[str]:
    """Everything of one node."""
    yield f"{node.node_id}: {node.state}, heard {ago(node.heard_at)}"
    for reason in node.reasons:
        yield f"takes no new files: {reason}"
    if node.holding is not None:
        holding = node.holding
        yield (
            f"keeps {holding.files} files ({format_size(holding.bytes)}); {holding.waiting} copies "
            f"to other nodes wait; {holding.open_sessions} uploads may still come in"
        )
    if node.drain is not None:
        yield from drain_lines(node.node_id, node.drain)
    told = node.heartbeat
    if told is not None and told.scrub_damaged:
        yield (
            f"{told.scrub_damaged} files in quarantine: settle them there with "
            "`portside-agent quarantine`"
        )
        for each in told.quarantined:
            yield f"  {each.file_id} {each.path} ({format_size(each.size)}): {each.reason}"


def repair_lines(view: RepairView) -> Iterator[str]:
    """What lacks copies, and what keeps it from having them."""
    if not view.short:
        yield "every file has the copies that it should have"
    for short in view.short:
        copies = "no good copy" if not short.present else f"{short.present} of their copies"
        yield f"{short.files} files ({format_size(short.bytes)}) have {copies}"
    if view.waiting or view.leased:
        oldest = f", the oldest ordered {ago(view.oldest)}" if view.oldest else ""
        yield (
            f"{view.leased} copies are being made, {view.waiting} wait, {view.failing} of them "
            f"have failed before{oldest}"
        )
    if view.given_up:
        yield f"not waited for any more: {', '.join(view.given_up)}"
    for each in view.blocked:
        yield f"blocked: {each}"


def _row(node: NodeView) -> tuple[str, ...]:
    return tuple(printable(cell) for cell in (*_condition(node), *_measured(node), _heard(node)))


def _condition(node: NodeView) -> tuple[str, str, str]:
    health = "healthy" if node.healthy else "unhealthy"
    state = node.state if node.drain is None else _in_short(node.drain)
    reasons = list(node.reasons)
    if node.heartbeat is not None and node.heartbeat.scrub_damaged:
        reasons.append(f"{node.heartbeat.scrub_damaged} files in quarantine")
    return node.node_id, state, ": ".join(filter(None, (health, ", ".join(reasons))))


def _measured(node: NodeView) -> tuple[str, str, str, str]:
    """Free space, used share, slots and lag as the node last told them."""
    told = node.heartbeat
    if told is None:
        return (_UNKNOWN,) * 4
    slots = f"{told.active_uploads}/{told.upload_slots}"
    return format_size(told.disk_free), f"{told.used_percent:.0f} %", slots, _lag(told)


def _lag(told: Heartbeat) -> str:
    """How long the oldest push has waited, and how many do."""
    if not told.replication_waiting:
        return "none"
    return f"{format_duration(told.replication_oldest)} ({told.replication_waiting})"


def _heard(node: NodeView) -> str:
    return ago(node.heard_at)


def _in_short(drain: DrainProgress) -> str:
    """One line."""
    if drain.drained:
        return "drained: may be retired"
    left = f"{drain.files_left} files ({format_size(drain.bytes_left)}) left"
    gone = f"{drain.files_gone} gone"
    stuck = ", blocked" if drain.blocked and not drain.copying else ""
    return f"draining: {left}, {gone}{stuck}"


def drain_lines(node_id: str, drain: DrainProgress) -> Iterator[str]:
    """Everything that there is to say."""
    if drain.drained:
        gone = (
            f"{drain.files_gone} files ({format_size(drain.bytes_gone)}) went since {_since(drain)}"
        )
        yield f"drained: may be retired: `fab retire {node_id}`; {gone}"
        return
    yield (
        f"draining since {_since(drain)}: {drain.files_left} files "
        f"({format_size(drain.bytes_left)}) left, {drain.files_gone} "
        f"({format_size(drain.bytes_gone)}) gone, {drain.copying} copies on their way"
    )
    if drain.bytes_per_second is not None and drain.seconds_left is not None:
        yield (
            f"{format_size(drain.bytes_per_second)} a second: about "
            f"{format_duration(drain.seconds_left)} to go"
        )
    for each in drain.blocked:
        yield f"blocked: {each}"
    for each in drain.not_yet:
        yield f"can't be retired yet: {each}"


def _since(drain: DrainProgress) -> str:
    return f"{drain.since:%Y-%m-%dT%H:%M:%SZ} ({ago(drain.since)})"


def watch_drain(control: Control, node_id: str, say: Callable[[str], None]) -> NodeView:
    """Say how the drain goes whenever that changes, until the node is drained or drains no more."""
    told: list[str] = []
    while True:
        view = control.node(node_id)
        now = [] if view.drain is None else list(drain_lines(node_id, view.drain))
        # The first line has the time in it.
        if [_timeless(each) for each in now] != [_timeless(each) for each in told]:
            for each in now:
                say(each)
            told = now
        if view.drain is None or view.drain.drained:
            return view
        time.sleep(POLL_SECONDS)


def _timeless(line: str) -> str:
    before, _, after = line.partition(" ago)")
    return before.rpartition("(")[0] + after if after else line
