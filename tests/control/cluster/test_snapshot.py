"""A snapshot says what the database and the clock say, though little of it is worked out anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session

from control.cluster import snapshot
from control.cluster.read_model import PoolReader
from control.cluster.snapshot import Snapshot
from control.db.database import DatabaseUnavailable
from control.db.models import Node, Pool
from tests.support.control.core import Core
from tests.support.loopback import wait_until


def _taken(core: Core) -> Snapshot:
    """By the same reader each time, which knows what was before."""
    return core.database.read(core.snapshots.take)


def _set(core: Core, node_id: str, **values: object) -> None:
    core.database.write(
        lambda session: session.execute(
            update(Node).where(Node.node_id == node_id).values(**values)
        )
    )


def test_what_hasnt_changed_is_the_same_object_and_what_has_is_a_new_one(core: Core) -> None:
    before = _taken(core)
    core.reports("s02", disk_free=123)
    after = _taken(core)
    for known in ("s01", "s03"):
        assert after.nodes[known] is before.nodes[known]
        assert after.pools[known] is before.pools[known]
    assert (before.nodes["s02"].disk_free, after.nodes["s02"].disk_free) != (123, 123)
    assert after.nodes["s02"].disk_free == 123
    assert after.pools["s02"].node is after.nodes["s02"]


def test_a_pools_counters_are_those_of_now(core: Core) -> None:
    before = _taken(core)
    core.database.write(
        lambda session: session.execute(
            update(Pool).where(Pool.pool_id == "s03").values(reserved=7, open_sessions=1)
        )
    )
    after = _taken(core)
    assert (before.pools["s03"].reserved, after.pools["s03"].reserved) == (0, 7)
    assert after.nodes["s03"] is before.nodes["s03"]


def test_a_node_that_joins_while_rows_are_read_is_in_the_next_snapshot(core: Core) -> None:
    known = _taken(core).nodes
    before = {node_id: node for node_id, node in known.items() if node_id != "s03"}
    pools = core.database.read(lambda session: PoolReader().read(session, before, lambda: None))
    assert pools.keys() == {"s01", "s02"}
    assert _taken(core).pools.keys() == {"s01", "s02", "s03"}


def test_silence_takes_a_node_down_although_its_row_stays_the_same(core: Core) -> None:
    found = _taken(core).nodes["s01"]
    assert (found.state, found.healthy) == ("active", True)
    assert found.signs.heard_at is not None
    core.clock.now = found.signs.heard_at + timedelta(seconds=core.settings.dead_after)
    assert _taken(core).nodes["s01"].state == "active"
    core.clock.pass_by(0.001)
    found = _taken(core).nodes["s01"]
    assert (found.state, found.healthy) == ("down", False)


def test_a_node_that_failed_is_healthy_again_when_its_time_is_over(core: Core) -> None:
    _set(core, "s01", failures=1, avoid_until=core.clock.now + timedelta(seconds=15))
    assert "failed: 1 times" in _taken(core).nodes["s01"].reasons[0]
    core.clock.pass_by(14.9)
    assert not _taken(core).nodes["s01"].healthy
    core.clock.pass_by(0.2)
    assert _taken(core).nodes["s01"].healthy


def test_a_snapshot_is_read_behind_those_who_use_the_one_before(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = core.snapshots.current()
    reading, may_go_on = threading.Event(), threading.Event()
    read = core.database.read

    def slow(work: Callable[[Session], object]) -> object:
        reading.set()
        assert may_go_on.wait(60)
        return read(work)

    monkeypatch.setattr(core.database, "read", slow)
    monkeypatch.setattr(snapshot, "REFRESH", 0.0)
    monkeypatch.setattr(snapshot, "LONGEST", 3600.0)
    assert core.snapshots.current() is before
    assert reading.wait(60)
    assert core.snapshots.current() is before, "whoever comes meanwhile doesn't wait"
    may_go_on.set()
    wait_until(lambda: core.snapshots.current() is not before)


def test_a_snapshot_that_is_too_old_is_not_used_when_the_database_is_away(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = core.snapshots.current()

    def away(work: object) -> object:
        raise DatabaseUnavailable("on purpose")

    monkeypatch.setattr(snapshot, "REFRESH", 0.0)
    monkeypatch.setattr(core.database, "read", away)
    assert core.snapshots.current() is before
    monkeypatch.setattr(snapshot, "LONGEST", 0.0)
    with pytest.raises(DatabaseUnavailable):
        core.snapshots.current()
