"""Pools that go: only when nothing counts towards them, and nothing is lost by it."""

from __future__ import annotations

from typing import Any

import pytest

from control.nodes import pools
from control.problems import ProblemError
from portside.wire.control import NewPool, PoolSettings, Session
from tests.support.control.cluster import take_over
from tests.support.control.core import Core
from tests.support.control.web import Api, slug_of

FAST = "/api/v1/pools/fast"

on_any_database = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
"""For what doesn't depend on it: one is enough."""


@pytest.fixture
def api(core: Core) -> Api:
    """With a pool on s02 that every upload goes to."""
    new = NewPool(pool_id="fast", node_id="s02", priority=5)
    core.database.write(lambda session: pools.create_pool(session, new))
    core.snapshots.forget()
    return Api(core)


def why_not(api: Api, path: str = FAST) -> str:
    answer = api.ask("DELETE", path, key=api.admin)
    assert (answer.status_code, slug_of(answer)) == (409, "pool-in-use")
    return str(answer.json["detail"])


def test_a_pool_goes_once_nothing_counts_towards_it(api: Api) -> None:
    session = api.opens()
    assert session.pool_id == "fast"
    assert "1 uploads to fast may still come in" in why_not(api)
    api.brings(session)
    assert "1 files (1000 B) are in fast" in why_not(api)
    wish = {"source": "fast", "target": "s01"}
    move = api.ask("POST", "/api/v1/moves", wish, key=api.admin).json["move_id"]
    assert f"/api/v1/moves/{move}/cancel" in why_not(api)
    api.ask("POST", f"/api/v1/moves/{move}/cancel", key=api.admin)
    api.ask("DELETE", f"/api/v1/files/{session.file_id}")
    assert "files" in why_not(api), "its node hasn't deleted it yet"

    [lease] = api.core.reports("s02").work
    api.core.reports("s02", work=[{"lease_id": lease.lease_id, "outcome": "done"}])
    deleted = api.ask("DELETE", FAST, key=api.admin)
    assert (deleted.status_code, deleted.json["pool_id"]) == (200, "fast")
    again = api.ask("DELETE", FAST, key=api.admin)
    assert (again.status_code, slug_of(again)) == (404, "pool-unknown")
    api.core.all_report()
    listed = api.fresh().ask("GET", "/api/v1/pools").json["pools"]
    assert [pool["pool_id"] for pool in listed] == ["s01", "s02", "s03"]
    assert api.opens(name="b.iso").pool_id != "fast"


@on_any_database
def test_a_nodes_own_pool_stays_as_long_as_the_node(api: Api) -> None:
    assert "drain and retire the node" in why_not(api, "/api/v1/pools/s01")
    assert slug_of(api.ask("DELETE", FAST)) == "scope-missing"
    every = api.core.nodes.roster(version=2)
    without = every.model_copy(update={"nodes": every.nodes[1:]})
    take_over(api.core.database, without, api.core.clock.now)
    assert api.ask("DELETE", "/api/v1/pools/s01", key=api.admin).status_code == 200
    # It joins again.
    again = every.model_copy(update={"version": 3})
    take_over(api.core.database, again, api.core.clock.now)
    assert api.fresh().ask("GET", "/api/v1/pools/s01").json["occupied"] == 0


def test_what_comes_in_for_a_pool_that_is_gone_is_in_the_nodes_own(api: Api) -> None:
    core = api.core
    headers = {"Idempotency-Key": "order-1"}
    wish = {"owner": "user-7", "name": "a.iso", "size": 1000}
    opened = api.ask("POST", "/api/v1/upload/sessions", wish, headers=headers)
    session = Session.model_validate_json(opened.text)
    assert api.ask("DELETE", f"/api/v1/files/{session.file_id}").status_code == 200
    assert api.ask("DELETE", FAST, key=api.admin).status_code == 200
    # Too late: its file is there, and is to go.
    api.brings(session)
    assert core.pool("s02")[2] == 1000
    core.counts_are_right()
    again = api.ask("POST", "/api/v1/upload/sessions", wish, headers=headers)
    assert (again.status_code, again.json["session_id"]) == (200, session.session_id)
    assert again.json["upload_url"] == session.upload_api_url


def test_a_session_that_is_opened_meanwhile_goes_elsewhere(api: Api) -> None:
    sessions = api.core.new_sessions()
    assert sessions.server(1, None).pool_id == "fast"
    assert api.ask("DELETE", FAST, key=api.admin).status_code == 200
    session, _ = sessions.open(api.core.wish(), api.core.clock.now)
    assert session.pool_id in ("s01", "s02", "s03")


@on_any_database
def test_of_a_pool_what_is_given_is_set_and_null_is_as_the_nodes(api: Api) -> None:
    def changed(settings: dict[str, Any]) -> dict[str, Any]:
        answer = api.ask("PATCH", FAST, settings, key=api.admin)
        assert answer.status_code == 200, answer.text
        return dict(answer.json)

    given = {"weight": 3, "region": "EU West", "capacity": "1 GiB", "tier": "warm"}
    pool = changed(given)
    assert (pool["weight"], pool["region"], pool["capacity"]) == (3, "eu-west", 1 << 30)
    assert (pool["priority"], pool["tier"]) == (5, "warm")
    pool = changed({"region": None, "is_upload_target": False})
    assert (pool["region"], pool["is_upload_target"], pool["weight"]) == (None, False, 3)
    assert changed({}) == pool
    for path, body, slug in (
        (FAST, {"weight": -1}, "malformed-request"),
        (FAST, {"pool_id": "slow"}, "malformed-request"),
        ("/api/v1/pools/none", {}, "pool-unknown"),
        ("/api/v1/pools/none", {"weight": 1}, "pool-unknown"),
    ):
        assert slug_of(api.ask("PATCH", path, body, key=api.admin)) == slug


@on_any_database
def test_a_pool_is_unknown_where_it_is_asked_for(core: Core) -> None:
    for work in (
        lambda session: pools.delete_pool(session, "none"),
        lambda session: pools.set_pool(session, "none", PoolSettings()),
    ):
        with pytest.raises(ProblemError, match="GET /api/v1/pools"):
            core.database.write(work)
