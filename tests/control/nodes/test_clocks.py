"""Clocks that are wrong, a node's or the control plane's: nobody is lost for longer than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import falcon.testing
import pytest
from sqlalchemy import select

from control.app import create_app
from control.db.models import ClusterState, Copy, Node, UploadSession, Work
from control.problems import ProblemError
from control.worker import rounds
from control.worker.rounds import Rounds
from portside.clock import SETTLED, ClockWatch
from portside.quantities import format_duration
from portside.tokens import LEEWAY
from portside.wire.heartbeat import GoneFile
from tests.support.control.core import Core
from tests.support.control.orders import orders_copy

DAY = 86400.0


def node(core: Core, node_id: str) -> Node:
    found = core.database.read(lambda session: session.get(Node, node_id))
    assert found is not None
    return found


def reasons(core: Core, node_id: str) -> tuple[str, ...]:
    core.snapshots.forget()
    return core.snapshots.current().nodes[node_id].reasons


def claims(core: Core) -> bool:
    """Whether a worker goes its round now."""
    return rounds.claim(core.settings, core.database, core.clock.now)


@contextmanager
def ahead(core: Core, seconds: float) -> Iterator[None]:
    """The control plane's clock is set ahead, and back."""
    core.clock.pass_by(seconds)
    yield
    core.clock.pass_by(-seconds)


# -- a node's --------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew", [DAY, -DAY, 365 * DAY, -20 * 365 * DAY])
def test_a_node_whose_clock_was_wrong_is_heard_all_the_time(core: Core, skew: float) -> None:
    core.skews["s01"] = skew
    for _ in range(3):
        core.clock.pass_by(15)
        assert core.reports("s01", disk_free=1).taken
        assert node(core, "s01").heard_at == core.clock.now
    core.skews["s01"] = 0.0
    core.clock.pass_by(15)
    assert core.reports("s01", disk_free=2).taken
    assert (node(core, "s01").disk_free, reasons(core, "s01")) == (2, ())


@pytest.mark.parametrize(("skew", "side"), [(-120.0, "behind"), (120.0, "ahead of")])
def test_a_node_that_cannot_judge_tokens_is_named_and_gets_none(
    core: Core, skew: float, side: str
) -> None:
    core.all_report()
    core.skews["s01"] = skew
    core.reports("s01")
    (reason,) = reasons(core, "s01")
    assert reason.startswith(f"clock: its clock is {format_duration(120)} {side}")
    assert "s01" not in {core.opens().node_id for _ in range(20)}
    assert core.snapshots.current().nodes["s01"].state == "active", "its copies count"
    core.skews["s01"] = 0.0
    core.reports("s01")
    assert reasons(core, "s01") == ()


@pytest.mark.parametrize("skew", [LEEWAY - 1.0, 1.0 - LEEWAY])
def test_what_tokens_forgive_is_forgiven_here(core: Core, skew: float) -> None:
    core.skews["s01"] = skew
    core.reports("s01")
    assert reasons(core, "s01") == ()


# -- what is new, without a clock ------------------------------------------------------------------


def test_a_heartbeat_that_comes_once_more_changes_nothing_and_gets_the_ticket(core: Core) -> None:
    file_id = core.stores("s01")
    core.reports("s01")
    told = core.nodes.heartbeat(
        "s01",
        core.clock.now,
        ticket=core.ticket("s01"),
        disk_free=1,
        gone=(GoneFile(file_id=file_id, why="damaged"),),
    )
    token, body = core.nodes.signed(told)
    first = core.heartbeats.receive("s01", token, body, core.clock.now)
    assert first.taken
    assert core.copies(file_id) == {"s01": "lost"}
    core.tickets["s01"] = first.ticket or ""
    core.database.write(
        lambda session: setattr(session.get_one(Copy, (file_id, "s01")), "state", "present")
    )
    again = core.heartbeats.receive("s01", token, body, core.clock.now)
    assert (again.taken, again.ticket, again.work) == (False, first.ticket, ())
    assert core.copies(file_id) == {"s01": "present"}, "a replay undid what came after it"


def test_an_answer_that_was_lost_costs_one_more_heartbeat(core: Core) -> None:
    core.reports("s01")
    before = core.ticket("s01")
    core.reports("s01", disk_free=1)
    core.tickets["s01"] = before
    assert core.reports("s01", disk_free=2).taken
    assert node(core, "s01").disk_free == 2


def test_a_release_without_tickets_is_heard_within_the_leeway(core: Core) -> None:
    core.clock.pass_by(15)
    beat = core.nodes.heartbeat("s01", core.clock.now)
    token, body = core.nodes.signed(beat)
    assert core.heartbeats.receive("s01", token, body, core.clock.now).taken
    with pytest.raises(ProblemError, match="seen before"):
        core.heartbeats.receive("s01", token, body, core.clock.now)
    core.clock.pass_by(LEEWAY + 1)
    with pytest.raises(ProblemError, match="there is no ticket"):
        core.heartbeats.receive("s01", token, body, core.clock.now)


# -- the control plane's own -----------------------------------------------------------------------


def test_a_control_plane_that_was_a_day_ahead_goes_its_rounds_again_at_once(core: Core) -> None:
    assert claims(core)
    with ahead(core, DAY):
        assert claims(core)
        core.clock.pass_by(12)
        assert claims(core)
        core.clock.pass_by(-12)
    core.clock.pass_by(12)
    assert claims(core)
    core.clock.pass_by(5)
    assert claims(core)


def test_what_was_noted_of_tomorrow_binds_nobody_today(core: Core) -> None:
    assert claims(core)
    begun = core.stores("s01")
    with ahead(core, DAY):
        assert claims(core)
        core.all_report()
        session = core.opens()
        length = session.session_deadline - core.clock.now
        file_id = core.stores("s01")
        assert orders_copy(core, begun, "s01", "s02") is not None
        (lease,) = core.reports("s01").work
        assert orders_copy(core, file_id, "s01", "s03") is not None
    core.clock.pass_by(5)
    assert claims(core)
    now = core.clock.now

    def latest(column: Any) -> Any:
        return core.database.read(lambda s: s.scalars(select(column)).all())

    for column in (Node.heard_at, Node.sent_at, Copy.since, Work.created_at, Work.not_before):
        assert all(each <= now for each in latest(column) if each is not None), column
    (until,) = [each for each in latest(Work.leased_until) if each is not None]
    assert until <= now + timedelta(seconds=600)
    assert latest(UploadSession.deadline) == [now + length]
    answer = core.reports("s01")
    assert lease.lease_id in {each.lease_id for each in answer.work}
    assert len(answer.work) == 2, "what was ordered tomorrow is done today"
    assert latest(ClusterState.listening_since) == [now]


def test_a_node_that_died_while_the_clock_was_ahead_is_missed(core: Core) -> None:
    assert claims(core)
    with ahead(core, DAY):
        assert claims(core)
        core.all_report()
    for _ in range(int(core.settings.dead_after / 5) + 3):
        core.clock.pass_by(5)
        core.reports("s02")
        core.reports("s03")
        assert claims(core)
        rounds.notice_silence(rounds.Round(core.settings, core.database, core.clock.now))
    assert node(core, "s01").down_since is not None
    assert node(core, "s02").down_since is None


def test_nothing_ends_by_a_clock_that_is_doubtful(core: Core) -> None:
    """It was set, or the nodes know better: then sessions go on."""
    up = [100_000.0]
    watch = ClockWatch(lambda: core.clock.now.timestamp(), lambda: up[0])
    routines = [each for each in rounds.ROUTINES if each.name == "expiry"]

    def goes_round(seconds: float) -> None:
        core.clock.pass_by(seconds)
        up[0] += seconds
        assert Rounds(core.settings, core.database, core.clock, routines, watch).go()

    def states() -> list[str]:
        return list(core.database.read(lambda s: s.scalars(select(UploadSession.state)).all()))

    core.opens()
    goes_round(5)
    core.clock.pass_by(10 * DAY)
    goes_round(5)
    assert states() == ["open"], "the clock has just been set"
    core.skews = dict.fromkeys(core.nodes.keys, -10 * DAY)
    core.all_report()
    goes_round(SETTLED + 1)
    core.all_report()
    goes_round(5)
    assert states() == ["open"], "every node says that it is ten days earlier"
    core.skews = {}
    core.all_report()
    goes_round(5)
    assert states() == ["expired"]


def test_readiness_tells_of_a_wrong_clock_and_of_rounds_that_nobody_goes(core: Core) -> None:
    def warnings() -> list[str]:
        app = create_app(core.settings, core.database, core.clock)
        told = falcon.testing.TestClient(app).simulate_get("/health/ready").json["warnings"]
        return [each.partition(":")[0] for each in told]

    assert warnings() == ["rounds-missed"]
    assert claims(core)
    core.all_report()
    assert warnings() == []
    core.skews = dict.fromkeys(core.nodes.keys, -DAY)
    core.all_report()
    assert warnings() == ["no-node", "clock"]
    core.skews = {}
    core.clock.pass_by(LEEWAY + 1)
    core.all_report()
    assert warnings() == ["rounds-missed"]
