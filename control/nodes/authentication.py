"""What nodes send: that it is theirs, and what it should be."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from control.cluster.read_model import KnownNode
from control.cluster.snapshot import Snapshot
from control.nodes.runs import Runs
from control.problems import ProblemError
from portside.tokens import TokenRefused, verify_heartbeat
from portside.wire.heartbeat import Heartbeat
from portside.wire.inventory import HeldFiles, InventoryPage

_Message = TypeVar("_Message", Heartbeat, InventoryPage, HeldFiles)


def sender(snapshot: Snapshot, node_id: str) -> KnownNode:
    """The node that says it is this one. Raises ProblemError unless a deploy knows it."""
    node = snapshot.nodes.get(node_id)
    if node is None or not node.signs.in_roster:
        raise ProblemError(
            "node-unknown", f"{node_id!r} is not in the roster: deploy it, then the control node"
        )
    if node.state == "retired":
        raise ProblemError(
            "node-unknown", f"{node_id!r} was retired: it is trusted no more; stop its agent"
        )
    return node


def refuse_twins(runs: Runs, node_id: str, now: datetime) -> None:
    """Raise ProblemError while two machines pass for this node."""
    if runs.is_twice(node_id, now):
        raise ProblemError(
            "node-twice",
            f"two machines send heartbeats as {node_id}: one has a copy of the other's disk. Stop "
            "the one that isn't meant, and give it a key of its own: remove its node.key and "
            "deploy it under another name",
        )


def proven(
    node: KnownNode, token: str, body: bytes, model: type[_Message], now: datetime
) -> _Message:
    """A body as what it is meant to be, once it is certain that this node sent it at some time.

    Raises ProblemError.
    """
    try:
        verify_heartbeat(token, node.keyset, node.node_id, body, now)
    except TokenRefused as refused:
        raise ProblemError.from_token(refused) from None
    try:
        message = model.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ProblemError("malformed-request", f"{where}: {first['msg']}") from None
    if message.node_id != node.node_id:
        raise ProblemError("token-wrong-node", f"the body is of node {message.node_id!r}")
    return message
