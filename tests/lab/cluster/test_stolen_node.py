"""s02 is stolen: its real key, against the lab's control plane and its other nodes.

Its worker is silent meanwhile, and the thief speaks in its place: heartbeats, receipts, copies.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

import pytest
from testinfra.host import Host

from agent.heartbeat.client import ControlClient
from deploys.layout import NODE_KEY, PROJECT_ROOT
from portside.cluster.file import Cluster
from portside.digest import format_repr_digest
from portside.operator.keystore import Keystore
from portside.tokens import SigningKey, mint_access, mint_copy_order, mint_replicate
from portside.wire import paths
from portside.wire.claims import CopyOrderClaims, ReplicateClaims
from portside.wire.control import FileView, Session
from portside.wire.heartbeat import GoneFile
from tests.support.control.cluster import FakeNodes
from tests.support.lab.control_plane import ControlPlane, holders, wait_for, wait_until_safe
from tests.support.lab.requests import Answer, Node
from tests.support.minting import access_claims

STOLEN = "s02"
WORKER = "portside-agent-worker.service"
AGENT = "portside-agent.service"
CONTENT = os.urandom(1_000_000)


@dataclass(frozen=True, slots=True)
class Thief:
    """Whoever has the key of s02."""

    key: SigningKey
    url: str
    signs: FakeNodes
    client: ControlClient

    def reports(self, *gone: GoneFile) -> None:
        """A heartbeat as s02 sends them, with what it says of files."""
        beat = self.signs.heartbeat(STOLEN, datetime.now(UTC), gone=gone)
        self.client.send(self.url, beat, lambda: False)

    def receipt(self, control: ControlPlane, **claims: Any) -> Answer:
        """A receipt of its own, handed in."""
        receipt = self.signs.receipt(STOLEN, datetime.now(UTC), **claims)
        return control.ask("POST", paths.FILES, {"receipt": receipt})

    def order_to_delete(self, file_id: str) -> GoneFile:
        """A file said to be deleted, by an order that it has signed itself."""
        claims = access_claims(
            self.key.owner, STOLEN, {"rights": ("delete",), "file_id": file_id, "sub": "app"}
        )
        return GoneFile(
            file_id=file_id,
            why="deleted",
            order=mint_access(self.key, claims),
            deleted_at=datetime.now(UTC),
        )

    def pushes(self, target: Node, path: str, owner: SigningKey | None) -> Answer:
        """A copy that nobody ordered, with an order signed by `owner` or without one."""
        now = int(time.time())
        place = PurePosixPath(path)
        claims = ReplicateClaims(
            iss=STOLEN,
            aud=target.node_id,
            iat=now,
            nbf=now,
            exp=now + 900,
            jti=secrets.token_hex(16),
            file_id=secrets.token_hex(16),
            path=place,
            size=len(CONTENT),
            sha256=hashlib.sha256(CONTENT).hexdigest(),
            namespace=place.parts[0],
            owner="somebody",
            name=place.name,
            content_type="application/octet-stream",
            committed_at=datetime.now(UTC),
        )
        headers = {
            "Authorization": f"Bearer {mint_replicate(self.key, claims)}",
            "Repr-Digest": format_repr_digest(claims.sha256),
        }
        if owner is not None:
            said = claims.model_dump(exclude={"jti", "committed_at"})
            order = CopyOrderClaims.model_validate({**said, "iss": owner.owner, "sub": STOLEN})
            headers["Portside-Order"] = mint_copy_order(owner, order)
        return target.ask("PUT", f"{paths.REPLICATE}/{path}", CONTENT, headers)


@pytest.fixture
def thief(cluster: Cluster, nodes: Mapping[str, Host], control: ControlPlane) -> Iterator[Thief]:
    """With the key as it lies on the node's disk; the node itself is silent until the end."""
    host = nodes[STOLEN]
    key = SigningKey.from_json(host.check_output(f"cat {NODE_KEY}"))
    signs = FakeNodes(())
    signs.keys[STOLEN] = key
    ca = Keystore.for_cluster(cluster, PROJECT_ROOT).ca_certificate()
    host.check_output(f"systemctl stop {WORKER}")
    try:
        yield Thief(key, str(cluster.control_url), signs, ControlClient(STOLEN, key, ca))
    finally:
        host.check_output(f"systemctl start {WORKER}")
        control.wait_until_healthy()


@pytest.fixture
def theirs(control: ControlPlane, talk: Mapping[str, Node]) -> FileView:
    """A file with two copies, none of them on s02."""
    control.wait_until_healthy()
    control.set_state(STOLEN, "readonly")
    try:
        name = f"theirs-{secrets.token_hex(4)}.bin"
        session = control.session(name=name, size=len(CONTENT), layout="named")
        _upload(talk, session)
        file = wait_until_safe(control, session.file_id)
    finally:
        control.set_state(STOLEN, "active")
        control.wait_until_healthy()
    assert _present(file) == {"s01", "s03"}
    return file


def test_nothing_of_others_is_deleted(
    thief: Thief, theirs: FileView, control: ControlPlane, nodes: Mapping[str, Host]
) -> None:
    gone = GoneFile(file_id=theirs.file_id, why="deleted")
    thief.reports(gone, gone.model_copy(update={"why": "missing"}))
    thief.reports(thief.order_to_delete(theirs.file_id))
    phantom = thief.receipt(
        control,
        file_id=theirs.file_id,
        path=theirs.path,
        size=theirs.size,
        sha256=theirs.sha256,
        committed_at=theirs.committed_at,
    )
    assert (phantom.status, phantom.slug) == (409, "receipt-conflict")
    thief.reports(gone, thief.order_to_delete(theirs.file_id))
    # What it said would be carried out with the others' next heartbeats.
    _wait_for_heartbeats(control, "s01", "s03")
    after = control.file(theirs.file_id)
    assert (after.state, _present(after)) == ("safe", {"s01", "s03"})
    assert holders(nodes, theirs.path) == {"s01", "s03"}


@pytest.mark.parametrize("name", ["lab/x.html", "lab/x.svg", "private/x.bin", "lab/x.bin"])
def test_nothing_is_planted(
    thief: Thief, talk: Mapping[str, Node], nodes: Mapping[str, Host], name: str
) -> None:
    planted = f"{name.partition('.')[0]}-{secrets.token_hex(4)}.{name.partition('.')[2]}"
    own = json.loads(thief.key.to_json())
    as_issuer = SigningKey.from_json(json.dumps({**own, "owner": "lab"}))
    for owner in (None, thief.key, as_issuer):
        answer = thief.pushes(talk["s01"], planted, owner)
        assert answer.status in (401, 403), answer.body
        assert answer.slug in ("order-missing", "order-refused")
    assert holders(nodes, planted) == frozenset()


def test_no_name_is_squatted(thief: Thief, control: ControlPlane, talk: Mapping[str, Node]) -> None:
    name = f"wanted-{secrets.token_hex(4)}.bin"
    # Its word alone: listed, and nobody's in the way.
    phantom = thief.receipt(control, path=PurePosixPath("lab", name))
    assert phantom.status == 200, phantom.body
    thief.reports()
    session = control.session(name=name, size=len(CONTENT), layout="named")
    _upload(talk, session)
    assert str(control.file(session.file_id).path) == f"lab/{name}"


@pytest.mark.parametrize("through", ["control plane", "node"])
def test_its_owner_deletes_it_also_on_a_node_that_was_away(
    theirs: FileView,
    control: ControlPlane,
    talk: Mapping[str, Node],
    nodes: Mapping[str, Host],
    through: str,
) -> None:
    away, there = nodes["s03"], talk["s01"]
    away.check_output(f"systemctl stop {WORKER} {AGENT}")
    try:
        if through == "node":
            answer = there.manage("DELETE", f"{paths.FILES}/{theirs.file_id}", "delete")
            assert answer.status == 204, answer.body
        else:
            control.delete(theirs.file_id)
        wait_for("s01 has deleted it", 60, lambda: "s01" not in holders(nodes, theirs.path) or None)
        assert holders(nodes, theirs.path) == {"s03"}
    finally:
        away.check_output(f"systemctl start {AGENT} {WORKER}")
    wait_for("s03 has deleted it", 60, lambda: not holders(nodes, theirs.path) or None)
    control.wait_until_healthy()


def _upload(talk: Mapping[str, Node], session: Session) -> None:
    stored = talk[session.node_id].put("any.bin", CONTENT, session.token)
    assert stored.status == 201, stored.body


def _present(file: FileView) -> set[str]:
    return {copy.node_id for copy in file.copies if copy.state == "present"}


def _wait_for_heartbeats(control: ControlPlane, *node_ids: str, count: int = 2) -> None:
    for _ in range(count):
        heard = {node_id: control.nodes()[node_id].heard_at for node_id in node_ids}

        def look(heard: Mapping[str, object] = heard) -> bool | None:
            now = control.nodes()
            return all(now[each].heard_at != then for each, then in heard.items()) or None

        wait_for("the others' next heartbeats", 60, look)
