"""Heartbeats: each counts once, from its own node only, and brings back what there is."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from control.db.models import Node
from control.nodes import service
from control.nodes.heartbeats import AT_WORK
from control.problems import ProblemError
from control.worker import rounds
from control.worker.rounds import Round, notice_silence
from portside.tokens import SigningKey
from portside.wire.control import NodeStateRequest
from tests.support.control.cluster import take_over
from tests.support.control.core import Core
from tests.support.control.orders import orders_copy


def node(core: Core, node_id: str) -> Node:
    found = core.database.read(lambda session: session.get(Node, node_id))
    assert found is not None
    return found


def refusal(core: Core, node_id: str, token: str, body: bytes) -> str:
    with pytest.raises(ProblemError) as refused:
        core.heartbeats.receive(node_id, token, body, core.clock.now)
    return refused.value.slug


def test_a_heartbeat_is_kept_and_answered(core: Core) -> None:
    answer = core.reports("s01", disk_free=1234, active_uploads=3, roster_version=0)
    kept = node(core, "s01")
    assert (kept.disk_free, kept.active_uploads, kept.heard_at) == (1234, 3, core.clock.now)
    assert answer.roster is not None
    assert [each.node_id for each in answer.roster.nodes] == ["s01", "s02", "s03"]
    assert answer.next_in == core.settings.heartbeat_every
    assert core.reports("s01", roster_version=answer.roster.version).roster is None


def test_a_node_that_has_work_is_to_come_sooner(core: Core) -> None:
    assert orders_copy(core, core.stores("s01"), "s01", "s02") is not None
    answer = core.reports("s01")
    assert (len(answer.work), answer.next_in) == (1, AT_WORK)
    assert core.settings.heartbeat_every > AT_WORK


def test_a_replay_and_an_older_one_are_refused(core: Core) -> None:
    core.clock.pass_by(10)
    beat = core.nodes.heartbeat("s01", core.clock.now, disk_free=1)
    token, body = core.nodes.signed(beat)
    core.heartbeats.receive("s01", token, body, core.clock.now)
    assert refusal(core, "s01", token, body) == "heartbeat-replayed"
    older = core.nodes.heartbeat("s01", core.clock.now - timedelta(seconds=1), disk_free=2)
    assert refusal(core, "s01", *core.nodes.signed(older)) == "heartbeat-replayed"
    assert node(core, "s01").disk_free == 1


def test_of_the_same_heartbeat_many_times_at_once_one_counts(core: Core) -> None:
    core.clock.pass_by(10)
    token, body = core.nodes.signed(core.nodes.heartbeat("s01", core.clock.now))

    def send(number: int) -> bool:
        try:
            core.heartbeats.receive("s01", token, body, core.clock.now)
        except ProblemError as problem:
            assert problem.slug == "heartbeat-replayed"
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(send, range(16))) == 1


def test_forged_and_foreign_heartbeats_are_refused(core: Core) -> None:
    core.clock.pass_by(10)
    beat = core.nodes.heartbeat("s01", core.clock.now)
    token, body = core.nodes.signed(beat)
    assert refusal(core, "s02", token, body) == "token-unknown-key"
    assert refusal(core, "s09", token, body) == "node-unknown"
    assert refusal(core, "s01", token, body.replace(b"0.1.0", b"0.1.1")) == "token-claims"
    assert refusal(core, "s01", token[:-8] + "AAAAAAAA", body) == "token-signature"
    lying = core.nodes.heartbeat("s02", core.clock.now)
    core.nodes.keys["s02"] = core.nodes.keys["s01"]
    token, body = core.nodes.signed(lying, iss="s01")
    assert refusal(core, "s01", token, body) == "token-wrong-node"
    core.nodes.keys["s01"] = SigningKey.generate("s01")
    assert refusal(core, "s01", *core.nodes.signed(beat)) == "token-unknown-key"


def test_a_body_that_is_no_heartbeat_says_what_is_wrong(core: Core) -> None:
    body = b'{"node_id": "s01"}'
    beat = core.nodes.heartbeat("s01", core.clock.now)
    token, _ = core.nodes.signed(beat, sha256=hashlib.sha256(body).hexdigest())
    with pytest.raises(ProblemError, match="sent_at") as refused:
        core.heartbeats.receive("s01", token, body, core.clock.now)
    assert refused.value.slug == "malformed-request"


def test_a_silent_node_is_down_and_back_with_its_next_heartbeat(core: Core) -> None:
    def goes_round() -> None:
        assert rounds.claim(core.settings, core.database, core.clock.now)
        notice_silence(Round(core.settings, core.database, core.clock.now))
        core.snapshots.forget()

    goes_round()
    before = core.snapshots.current().roster.version
    for _ in range(int(core.settings.dead_after / 5) + 2):
        core.clock.pass_by(5)
        core.reports("s02")
        core.reports("s03")
        goes_round()
    snapshot = core.snapshots.current()
    assert [each.state for each in snapshot.roster.nodes] == ["down", "active", "active"]
    assert snapshot.roster.version > before
    assert not snapshot.nodes["s01"].healthy
    answer = core.reports("s01", roster_version=snapshot.roster.version)
    assert answer.roster is not None, "its own return is news for every node"
    assert {each.state for each in answer.roster.nodes} == {"active"}
    assert node(core, "s01").down_since is None


def test_after_an_absence_of_the_control_plane_nobody_is_dead(core: Core) -> None:
    assert rounds.claim(core.settings, core.database, core.clock.now)
    core.clock.pass_by(3600)
    assert rounds.claim(core.settings, core.database, core.clock.now)
    notice_silence(Round(core.settings, core.database, core.clock.now))
    core.snapshots.forget()
    assert {each.state for each in core.snapshots.current().nodes.values()} == {"active"}


def test_of_several_workers_one_goes_the_round(core: Core) -> None:
    core.clock.pass_by(60)
    with ThreadPoolExecutor(4) as threads:
        claims = list(
            threads.map(
                lambda _: rounds.claim(core.settings, core.database, core.clock.now), range(8)
            )
        )
    assert sum(claims) == 1


def test_a_node_left_out_by_a_deploy_is_answered_no_more(core: Core) -> None:
    roster = core.nodes.roster(version=2)
    smaller = roster.model_copy(update={"nodes": roster.nodes[1:]})
    take_over(core.database, smaller, core.clock.now)
    core.snapshots.forget()
    token, body = core.nodes.signed(core.nodes.heartbeat("s01", core.clock.now))
    assert refusal(core, "s01", token, body) == "node-unknown"
    take_over(core.database, roster.model_copy(update={"version": 3}), core.clock.now)
    core.snapshots.forget()
    core.reports("s01")


def test_a_deploy_keeps_what_operators_want_of_nodes(core: Core) -> None:
    wish = NodeStateRequest(state="draining")
    core.database.write(
        lambda s: service.set_state(s, core.snapshots, core.settings, "s02", wish, core.clock.now)
    )
    facts = {"s02": {"region": "hel", "weight": 3}}
    take_over(
        core.database,
        core.nodes.roster(version=int(core.clock.now.timestamp()) + 9, facts=facts),
        core.clock.now,
    )
    core.snapshots.forget()
    roster = core.snapshots.current().roster
    found = roster.find("s02")
    assert found is not None
    assert (found.state, found.region, found.weight) == ("draining", "hel", 3)
    assert roster.version > core.clock.now.timestamp() + 9
