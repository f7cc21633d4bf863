"""`/api/v1/nodes` and `/api/v1/repair`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import falcon

from control.api.metrics import Metrics
from control.api.requests import json_body
from control.api.requests.resource import Resource
from control.nodes import service
from control.nodes.heartbeats import Heartbeats
from control.nodes.inventories import Inventories
from control.problems import ProblemError
from control.replication import leaving, progress
from portside.web.authorization import bearer
from portside.web.resources import answers_head
from portside.wire.control import NodeStateRequest, NodeView, NodeViews
from portside.wire.inventory import LeavingQuestion, OnlyCopiesQuery


class NodeHeartbeats:
    """Where nodes report."""

    def __init__(
        self, heartbeats: Heartbeats, metrics: Metrics, clock: Callable[[], datetime]
    ) -> None:
        self._heartbeats = heartbeats
        self._metrics = metrics
        self._clock = clock

    def on_post(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """200 with what there is for the node."""
        token, body = _signed(request)
        with self._metrics.heartbeat():
            answer = self._heartbeats.receive(node_id, token, body, self._clock())
        json_body.answer(response, answer)


class NodeInventories:
    """Where nodes ask what of theirs isn't known, and tell it."""

    def __init__(self, inventories: Inventories, clock: Callable[[], datetime]) -> None:
        self._inventories = inventories
        self._clock = clock

    def on_post(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """200 with what differs in a page of the node's files."""
        token, body = _signed(request)
        json_body.answer(response, self._inventories.compare(node_id, token, body, self._clock()))

    def on_post_files(
        self, request: falcon.Request, response: falcon.Response, node_id: str
    ) -> None:
        """200 with what became of files that the node has."""
        token, body = _signed(request)
        json_body.answer(response, self._inventories.take_over(node_id, token, body, self._clock()))


def _signed(request: falcon.Request) -> tuple[str, bytes]:
    """A node's token and the body that it was signed over. Raises ProblemError."""
    token = bearer(request.auth)
    if token is None:
        raise ProblemError("token-missing", "send 'Authorization: Bearer <heartbeat token>'")
    return token, json_body.read(request)


class _OfNodes(Resource):
    def _one(self, node_id: str) -> NodeView:
        # Of its own transaction: what is read in one must not wait for another.
        snapshot = self._snapshots.current()
        return self._database.read(
            lambda session: service.one_node(
                session, snapshot, self._snapshots, self._settings, node_id, self._clock()
            )
        )


@answers_head
class Nodes(_OfNodes):
    """Every node."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """The nodes; to `admin` with their last heartbeats."""
        caller = self._access.need(request, "read")
        snapshot = self._snapshots.current()
        found = self._database.read(
            lambda session: service.every_node(
                session, snapshot, self._snapshots, self._settings, self._clock()
            )
        )
        if not caller.is_admin:
            found = NodeViews(nodes=tuple(map(service.without_heartbeat, found.nodes)))
        json_body.answer(response, found)

    def on_get_one(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """One node; to `admin` with its last heartbeat."""
        caller = self._access.need(request, "read")
        found = self._one(node_id)
        json_body.answer(response, found if caller.is_admin else service.without_heartbeat(found))


class NodeStates(_OfNodes):
    """What is wanted of a node."""

    def on_post(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """The node as it is now. The same wish twice changes nothing."""
        self._access.need(request, "admin")
        wish = json_body.parse(request, NodeStateRequest)
        self._database.write(
            lambda session: service.set_state(
                session, self._snapshots, self._settings, node_id, wish, self._clock()
            )
        )
        self._snapshots.forget()
        json_body.answer(response, self._one(node_id))


@answers_head
class Leaving(Resource):
    """What is asked before a node goes for good."""

    def on_get(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """A page of its files that no other node has a good copy of, as far as is known here."""
        self._access.need(request, "admin")
        query = json_body.query(request, OnlyCopiesQuery)
        json_body.answer(
            response,
            self._database.read(
                lambda session: leaving.only_copies(
                    session,
                    self._settings,
                    service.known(session, node_id),
                    query,
                    self._clock(),
                )
            ),
        )

    def on_post(self, request: falcon.Request, response: falcon.Response, node_id: str) -> None:
        """200 with who else has files that the node itself says it has. Changes nothing."""
        self._access.need(request, "admin")
        asked = json_body.parse(request, LeavingQuestion)
        json_body.answer(
            response,
            self._database.read(
                lambda session: leaving.who_else(
                    session,
                    self._settings,
                    service.known(session, node_id),
                    asked.files,
                    self._clock(),
                )
            ),
        )


@answers_head
class Repair(Resource):
    """What repair has to do."""

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Files that lack copies, the copies that are ordered, and what keeps others from it."""
        self._access.need(request, "read")
        json_body.answer(
            response,
            self._database.read(
                lambda session: progress.of_repair(
                    session, self._snapshots, self._settings, self._clock()
                )
            ),
        )
