"""`portside nodes`: how the cluster's nodes are."""

from __future__ import annotations

from typing import Annotated

import typer

from portside.commands.common import ago, control_plane, print_table, printable
from portside.quantities import format_duration, format_size
from portside.wire.control import NodeView
from portside.wire.heartbeat import Heartbeat

_UNKNOWN = "-"

_HEADERS = ("node", "state", "health", "free", "used", "slots", "lag", "heard")


def command(
    as_json: Annotated[
        bool, typer.Option("--json", help="What the control plane knows, as one JSON object.")
    ] = False,
) -> None:
    """List the storage nodes: state, health with reasons, space, uploads, replication lag."""
    with control_plane() as control:
        views = control.nodes()
    if as_json:
        typer.echo(views.model_dump_json())
        return
    print_table(_HEADERS, [_row(node) for node in views.nodes])


def _row(node: NodeView) -> tuple[str, ...]:
    return tuple(printable(cell) for cell in (*_condition(node), *_measured(node), _heard(node)))


def _condition(node: NodeView) -> tuple[str, str, str]:
    health = "healthy" if node.healthy else "unhealthy"
    return node.node_id, node.state, ": ".join(filter(None, (health, ", ".join(node.reasons))))


def _measured(node: NodeView) -> tuple[str, str, str, str]:
    """Free space, used share, slots and lag as the node last told them."""
    told = node.heartbeat
    if told is None:
        return (_UNKNOWN,) * 4
    used = 100 * (told.disk_total - told.disk_free) / told.disk_total if told.disk_total else 0
    slots = f"{told.active_uploads}/{told.upload_slots}"
    return format_size(told.disk_free), f"{used:.0f} %", slots, _lag(told)


def _lag(told: Heartbeat) -> str:
    """How long the oldest push has waited, and how many do."""
    if not told.replication_waiting:
        return "none"
    return f"{format_duration(told.replication_oldest)} ({told.replication_waiting})"


def _heard(node: NodeView) -> str:
    return ago(node.heard_at)
