"""`fab retire`: a node is let go for good, once nothing on it is nowhere else.

In this order, so that whatever breaks off leaves a state from which the same command goes on: look
at what is on it; tell the control plane; stop its services; look again, for what came in between;
mark the node as let go; then the others get a roster without it. Its data stays where it is.

A node that is lost can't be asked. What goes with it is the control plane's word alone, and whoever
lets it go says so in so many words.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from operate import control_plane, locks, nodes
from operate.deploying import deploy, deployed
from operate.leaving import mark
from operate.leaving.consent import id_typed
from operate.leaving.proof import Found, files_of, look
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.client.http.errors import ControlError, ControlUnavailable
from portside.operator.programs import AGENT
from portside.wire.control import NodeStateRequest
from portside.wire.inventory import OnlyCopiesQuery

_DEPLOY = "retire_node"
_SUBJECT = "leaving"
"""What `deploys/retire_node.py` reads the node's id from."""


def retire(site: Site, node_id: str, tell: Tell, dry: bool = False) -> bool:
    """Let a node go that can be asked. Whether every other node knows it by now.

    Raises one of MISTAKES; Refused for what only this node has.
    """
    _must_store(site, node_id)
    with _asked(site) as control:
        if _is_let_go(site, node_id, control):
            # Others that have a roster without it answer its questions no more.
            tell.line(f"{node_id}: was let go before, with nothing on it that was nowhere else")
            if dry:
                tell.line(_would_hear(site, node_id))
                tell.result({"dry": True, "retired": True, "node_id": node_id})
                return True
            return _left(site, node_id, tell, None, lost=False)
        found = look(site, node_id, control, tell)
        _must_be_elsewhere(found, node_id, tell)
        tell.line(
            f"{node_id}: {files_of(found.files, found.bytes)} on it, all of them on other nodes too"
            if found.files
            else f"{node_id}: nothing is on it"
        )
        if dry:
            for line in _would(site, node_id, control):
                tell.line(line)
            tell.result({"dry": True, "retired": False, "node_id": node_id, **found.as_json()})
            return True
        # A node that somebody closed or is changing can't be stopped: found out before anybody is
        # told. The deploy takes the lock itself.
        with locks.held(site, node_id, "retire: whether it may be changed"):
            pass
        if control is not None and control.node(node_id).state != "retired":
            # Its own look refuses what is to be drained first.
            control.set_state(node_id, NodeStateRequest(state="retired"))
        tell.line(f"{node_id}: retired; its services are stopped now")
        deployed(site, _DEPLOY, tell, limit=[node_id], data={_SUBJECT: node_id})
        again = look(site, node_id, control, tell, frozenset(found.asked_others))
        if not again.may_go:
            _take_back(control, node_id, again, tell)
        mark.leave(site, node_id)
    _note(site, f"{node_id}: retired", tell)
    return _left(site, node_id, tell, found, lost=False)


def retire_lost(
    site: Site, node_id: str, tell: Tell, accepted: str = "", dry: bool = False
) -> bool:
    """Let a node go that doesn't come back, with what only it had. As `retire`.

    `accepted` is how many files its operator has said to lose; without it they are asked.
    """
    _must_store(site, node_id)
    answer = nodes.ask(site, [node_id], (AGENT.on_path, "leaving", "--limit", "1"))[node_id]
    if answer.ok:
        raise Refused(
            f"{node_id} answers, and can say what is on it: `fab retire {node_id}`. --lost is for "
            "a machine or a disk that doesn't come back"
        )
    with _asked(site) as control:
        if control is None:
            raise Refused(
                f"without a control plane nobody knows what was on {node_id}: take its line out of "
                f"the cluster file and deploy; then copies that were to come from it are lost"
            )
        tell.line(f"{node_id}: {answer.trouble.removeprefix(f'{node_id}: ')}")
        found = _only_copies(control, node_id)
        for line in _meaning(node_id, found):
            tell.line(line)
        if dry:
            tell.result({"dry": True, "node_id": node_id, "lost": True, **found.as_json()})
            return True
        _confirmed(node_id, found, accepted)
        control.set_state(node_id, NodeStateRequest(state="retired", force=True))
    _note(site, f"{node_id}: retired as lost, with {found.alone} files", tell)
    return _left(site, node_id, tell, found, lost=True)


def _must_store(site: Site, node_id: str) -> None:
    site.named([node_id])
    if "storage" not in site.cluster.roles_of(node_id):
        raise Refused(
            f"{node_id} keeps no files: its roles are "
            f"{', '.join(site.cluster.roles_of(node_id))}. A control plane is moved by its backup, "
            "see docs/nodes.md"
        )
    if "control" in site.cluster.roles_of(node_id):
        raise Refused(
            f"{node_id} has the control plane as well: move that to another machine first, see "
            "docs/nodes.md"
        )


@contextmanager
def _asked(site: Site) -> Iterator[Control | None]:
    """The control plane; None in a cluster without one."""
    if site.cluster.control_url is None:
        yield None
        return
    try:
        with control_plane.asked(site) as control:
            yield control
    except ControlUnavailable as error:
        where = ",".join(site.cluster.with_role("control"))
        raise Refused(
            f"{error}. Without it nothing can be let go: see `fab -H {where} logs`; then the same "
            "command again"
        ) from None


def _must_be_elsewhere(found: Found, node_id: str, tell: Tell) -> None:
    if found.may_go:
        return
    tell.result({"retired": False, "node_id": node_id, **found.as_json()})
    raise Refused(
        "\n".join(
            [
                *found.lines(node_id),
                f"{node_id} is not retired. `fab drain {node_id} --watch` copies what the control "
                "plane knows of; `portside-agent fsck` and `quarantine` there settle the rest",
            ]
        )
    )


def _would(site: Site, node_id: str, control: Control | None) -> Iterator[str]:
    state = "" if control is None else f"is {control.node(node_id).state}, would be retired; "
    yield f"{node_id}: {state}its services would be stopped, its data stays"
    yield _would_hear(site, node_id)


def _would_hear(site: Site, node_id: str) -> str:
    others = [each for each in site.cluster.nodes if each != node_id]
    return f"{', '.join(others)}: would get a roster without it"


def _is_let_go(site: Site, node_id: str, control: Control | None) -> bool:
    """Whether only the others are left to hear of it: by its mark, unless it was taken back."""
    if not mark.is_there(site, node_id):
        return False
    return control is None or control.node(node_id).state == "retired"


def _note(site: Site, what: str, tell: Tell) -> None:
    """In the audit log of the control plane's node, which outlives this one."""
    if site.cluster.control_url is not None:
        locks.noted(site, what, tell)


def _take_back(control: Control | None, node_id: str, found: Found, tell: Tell) -> None:
    """What came in between keeps the node: its files can still be copied away."""
    # First of all: whatever else goes wrong, its operator knows what is on it.
    for line in found.lines(node_id):
        tell.warn(line)
    tell.result({"retired": False, "node_id": node_id, **found.as_json()})
    if control is not None:
        try:
            control.set_state(node_id, NodeStateRequest(state="draining"))
        except ControlError as error:
            raise Refused(
                f"{node_id}: these came while it was being let go, and it stays retired for the "
                f"control plane, which doesn't let it drain: {error}. Its services are stopped and "
                f"its data stays: mend that, then `fab undrain {node_id}` and `fab reinstall "
                f"{node_id}`"
            ) from None
    raise Refused(
        f"{node_id}: these came while it was being let go. `fab reinstall {node_id}` starts its "
        f"services again, then `fab drain {node_id} --watch` copies them away"
    )


def _left(site: Site, node_id: str, tell: Tell, found: Found | None, lost: bool) -> bool:
    """The others hear that it is gone; what is left to do is said."""
    site.keystore.forget_node_key(node_id)
    others = [each for each in site.cluster.nodes if each != node_id]
    code = deploy(site, _DEPLOY, tell, limit=others, data={_SUBJECT: node_id}) if others else 0
    if code:
        tell.warn(
            "some nodes still have a roster with it: mend what is said above, then the same "
            "command again, or any deploy"
        )
    tell.line(f"{node_id}: retired. Its line may leave {site.path} now")
    if lost:
        tell.line("  repair makes the missing copies of what other nodes have: `fab status`")
    else:
        tell.line(
            f"  before that: `fab uninstall {node_id}` takes Portside off the machine; its data "
            f"stays in {site.cluster.uploads.root}"
        )
    tell.result(
        {
            "dry": False,
            "retired": True,
            "node_id": node_id,
            "lost": lost,
            "roster_everywhere": not code,
            **({} if found is None else found.as_json()),
        }
    )
    return not code


# -- a node that is lost ---------------------------------------------------------------------------


def _only_copies(control: Control, node_id: str) -> Found:
    found = Found()
    after: str | None = None
    while True:
        page = control.only_copies(node_id, OnlyCopiesQuery(after=after))
        found.files += page.looked_at
        for each in page.files:
            found.lost(str(each.path), each.size, each.sha256, each.file_id, f"of {each.owner}")
        if page.next is None:
            return found
        after = page.next


def _meaning(node_id: str, found: Found) -> Iterator[str]:
    yield (
        f"--lost lets {node_id} go without asking it. The control plane knows of {found.files} "
        "files there; what it was never told of is lost without anybody knowing"
    )
    if not found.alone:
        if found.files:
            yield "each of them is on another node too"
        return
    yield f"{files_of(found.alone, found.alone_bytes)} are nowhere else and are given up for good:"
    yield from found.named_lines()


def _confirmed(node_id: str, found: Found, accepted: str) -> None:
    """Raises Refused unless its operator has said what is lost."""
    left = f"{node_id} is not retired"
    if accepted:
        if accepted != str(found.alone):
            raise Refused(f"--yes-i-lose {accepted}: it is {found.alone} files. {left}")
        return
    id_typed(node_id, f"--yes-i-lose {found.alone} says it. {left}", left)
