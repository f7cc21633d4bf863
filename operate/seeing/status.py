"""`fab status`: one screen for the whole cluster, a dead node or control plane among what it shows.

What each node says of itself comes over SSH, what the cluster makes of it from the control plane.
Neither waits for the other, and what one can't say is a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from operate import control_plane
from operate.look import Look, Seen, look_at
from operate.site import MISTAKES, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.commands.common import ago
from portside.commands.storage.nodes import repair_lines
from portside.quantities import format_duration, format_size
from portside.wire.control import NodeView, RepairView
from portside.wire.status import used_percent

_DAY = 86400
_UNKNOWN = "-"
_HEADERS = ("node", "roles", "release", "services", "ready", "disk", "certificate", "heard", "lag")

_SOON = 10 * _DAY
"""Seconds before a certificate's end that are worth a line: it should have been renewed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What the control plane says; None for each where it didn't, and why."""

    nodes: dict[str, NodeView]
    repair: RepairView | None
    silence: str | None


def status(site: Site, node_ids: Sequence[str], tell: Tell) -> bool:
    """Show how these nodes are. Whether all is well: every node reached, running and ready."""
    seen = look_at(site, node_ids)
    cluster = _ask_cluster(site)
    tell.table(_HEADERS, [_row(site, each, cluster) for each in seen.values()])
    trouble = {node_id: list(_trouble(each)) for node_id, each in seen.items()}
    for lines in trouble.values():
        for line in lines:
            tell.line(line)
    for line in _of_cluster(site, node_ids, cluster):
        tell.line(line)
    tell.result(
        {
            "nodes": [_as_json(each, trouble[each.node_id], cluster) for each in seen.values()],
            "repair": cluster.repair and cluster.repair.model_dump(mode="json"),
            "control_plane": cluster.silence or "answers",
        }
    )
    return not any(trouble.values()) and (cluster.silence is None or not site.cluster.control_url)


def _ask_cluster(site: Site) -> Cluster:
    def views(control: Control) -> Cluster:
        return Cluster(
            {each.node_id: each for each in control.nodes().nodes}, control.repair(), None
        )

    if site.cluster.control_url is None:
        return Cluster({}, None, "this cluster has none")
    try:
        return control_plane.answer(site, views)
    except MISTAKES as error:
        return Cluster({}, None, str(error))


def _row(site: Site, seen: Seen, cluster: Cluster) -> tuple[str, ...]:
    view, look = cluster.nodes.get(seen.node_id), seen.look
    roles = "+".join(site.cluster.roles_of(seen.node_id))
    heard, lag = _heard(view), _lag(view)
    if look is None:
        return (seen.node_id, roles, *(_UNKNOWN,) * 2, "not reached", *(_UNKNOWN,) * 2, heard, lag)
    releases = ", ".join(sorted({each or "none" for each in look.releases.values()}))
    running = sum(state == "active" for state in look.units.values())
    return (
        seen.node_id,
        roles,
        releases,
        f"{running}/{len(look.units)}",
        "yes" if all(each.ready for each in look.ready.values()) else "no",
        _disk(look),
        _certificate(look),
        heard,
        lag,
    )


def _heard(view: NodeView | None) -> str:
    return _UNKNOWN if view is None else ago(view.heard_at)


def _lag(view: NodeView | None) -> str:
    if view is None or view.heartbeat is None:
        return _UNKNOWN
    told = view.heartbeat
    return format_duration(told.replication_oldest) if told.replication_waiting else "none"


def _disk(look: Look) -> str:
    if not look.disks:
        return _UNKNOWN
    disk = look.disks[0]
    return f"{format_size(disk.free)} free, {used_percent(disk.free, disk.total):.0f} %"


def _certificate(look: Look) -> str:
    if look.certificate_ends is None:
        return "none"
    return f"{(look.certificate_ends - look.now) / _DAY:.0f} days"


def _trouble(seen: Seen) -> Iterator[str]:
    """A line for each thing on the node that isn't as it should be."""
    look, node_id = seen.look, seen.node_id
    if look is None:
        yield str(seen.unreached)
        return
    for unit, state in look.units.items():
        if state != "active":
            yield f"{node_id}: {unit} is {state}: `fab -H {node_id} logs`"
    for role, ready in look.ready.items():
        for line in (*ready.reasons, *ready.warnings):
            yield f"{node_id}: {role}: {line}"
    if not look.mounted:
        yield f"{node_id}: the data disk is not mounted where uploads are"
    for disk in look.disks:
        if disk.read_only:
            yield f"{node_id}: {disk.path} is mounted read-only: `dmesg` on the node says why"
    left = None if look.certificate_ends is None else look.certificate_ends - look.now
    if left is not None and left < _SOON:
        when = f"ends in {format_duration(left)}" if left > 0 else "has ended"
        yield f"{node_id}: its certificate {when}: see docs/certificates.md"
    if look.renewal is not None and "failed" in look.renewal:
        yield f"{node_id}: certificate: {look.renewal}"
    for line in look.trouble:
        yield f"{node_id}: {line}"


def _of_cluster(site: Site, node_ids: Sequence[str], cluster: Cluster) -> Iterator[str]:
    if cluster.silence is not None:
        if site.cluster.control_url is not None:
            yield f"control plane: {cluster.silence}"
        return
    for node_id in node_ids:
        view = cluster.nodes.get(node_id)
        if view is None:
            if "storage" in site.cluster.roles_of(node_id):
                yield f"{node_id}: the control plane doesn't know it: deploy it"
        elif view.state != "active" or not view.healthy:
            why = ", ".join(view.reasons)
            yield f"{node_id}: {view.state}" + (f": {why}" if why else "")
    if cluster.repair is not None:
        yield from repair_lines(cluster.repair)


def _as_json(seen: Seen, trouble: list[str], cluster: Cluster) -> dict[str, object]:
    view = cluster.nodes.get(seen.node_id)
    return {
        "node_id": seen.node_id,
        "reached": seen.look is not None,
        "trouble": trouble,
        "look": seen.look and seen.look.model_dump(mode="json"),
        "control_plane": view and view.model_dump(mode="json"),
        "asked_at": datetime.fromtimestamp(seen.asked_at, UTC).isoformat(),
    }
