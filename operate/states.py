"""`fab drain` and `undrain`: what is wanted of a node, told to the control plane."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from operate import control_plane, locks
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.client.http.errors import ControlUnavailable
from portside.commands.storage.nodes import drain_lines, watch_drain
from portside.wire.control import NodeStateRequest, NodeView
from portside.wire.heartbeat import NodeState

ASKED_AGAIN = 5.0
"""Seconds until a control plane that doesn't answer is asked again how a drain goes."""


def drain(site: Site, node_id: str, tell: Tell, watch: bool = False, dry: bool = False) -> None:
    """Give a node no new files and have its own copied to others. Raises one of MISTAKES."""
    _want(site, node_id, "draining", tell, watch, dry)


def undrain(site: Site, node_id: str, tell: Tell, dry: bool = False) -> None:
    """Take a node that drains, or is only read, back into use. Raises one of MISTAKES."""
    _want(site, node_id, "active", tell, dry=dry)


def _want(
    site: Site,
    node_id: str,
    state: NodeState,
    tell: Tell,
    watch: bool = False,
    dry: bool = False,
) -> None:
    site.named([node_id])
    with _answering(site) as control:
        before = control.node(node_id)
        if dry:
            tell.line(f"{node_id}: is {before.state}, would be {state}")
            tell.result(_as_json(before, dry))
            return
        view = control.set_state(node_id, NodeStateRequest(state=state))
        locks.noted(site, f"{node_id}: {state}", tell)
        if before.state == "retired":
            # The others have no roster with it, and its services don't run.
            tell.line(
                f"{node_id}: was retired; it is {state} once `fab reinstall {node_id}` has started "
                "its services again"
            )
        else:
            tell.line(f"{node_id}: {view.state}")
            for reason in view.reasons:
                tell.line(f"  {reason}")
        view = _told(control, view, tell, watch)
    tell.result(_as_json(view, dry))


@contextmanager
def _answering(site: Site) -> Iterator[Control]:
    """The control plane; while it doesn't answer, what that means and what to do."""
    try:
        with control_plane.asked(site) as control:
            yield control
    except ControlUnavailable as error:
        where = ",".join(site.cluster.with_role("control"))
        raise Refused(
            f"{error}. What it was told before stands: see `fab -H {where} logs`, then the same "
            "command again"
        ) from None


def _told(control: Control, view: NodeView, tell: Tell, watch: bool) -> NodeView:
    """How its drain goes, to its end where it is watched; the node as it is then."""
    if watch:
        return _watched(control, view.node_id, tell)
    for line in drain_lines(view.node_id, view.drain) if view.drain else ():
        tell.line(f"  {line}")
    return view


def _watched(control: Control, node_id: str, tell: Tell) -> NodeView:
    """Watch to the end, also over a restart of the control plane: the drain is its state."""
    while True:
        try:
            view = watch_drain(control, node_id, lambda line: tell.line(f"  {line}"))
        except ControlUnavailable as error:
            tell.warn(f"  {error}: the drain goes on with it; asking again")
            time.sleep(ASKED_AGAIN)
            continue
        if view.drain is None:
            tell.line(f"  {node_id} drains no more: it is {view.state}")
        return view


def _as_json(view: NodeView, dry: bool) -> dict[str, object]:
    return {"dry": dry, "node": view.model_dump(mode="json")}
