"""Sessions: placed, promised once and given back once; refused early."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from control.cluster import snapshot
from control.db.models import Node, Pool
from control.files import service
from control.problems import ProblemError
from control.sessions.opening import SessionOpener
from control.worker import expiry
from portside.quantities import GIB
from portside.tokens import verify_upload
from portside.wire.keys import Keyset
from tests.support.control.core import APP, Core


def test_a_session_has_a_token_that_its_node_takes(core: Core) -> None:
    session = core.opens(namespace="isos", sha256="a" * 64, content_type="text/plain")
    claims = verify_upload(
        session.token, Keyset(keys=(core.key.public(),)), session.node_id, core.clock.now
    )
    assert (claims.sub, claims.size, claims.namespace) == ("user-7", 1000, "isos")
    assert (claims.jti, claims.file_id) == (session.session_id, session.file_id)
    assert claims.replicas == session.replicas
    assert len({session.node_id, *session.replicas}) == 2
    assert session.upload_api_url == (
        f"https://{session.node_id}.portside.test/api/internal/upload"
    )
    assert session.resumable_url == f"https://{session.node_id}.portside.test/api/v1/uploads"
    assert core.pool(session.node_id) == (1000, 1, 0)


def test_sessions_spread_over_nodes_that_are_alike(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a new snapshot the turns begin anew: a slow computer takes longer than one lives.
    for age in ("REFRESH", "LONGEST"):
        monkeypatch.setattr(snapshot, age, 3600.0)
    sessions = core.new_sessions()
    nodes = [sessions.open(core.wish(), core.clock.now)[0].node_id for _ in range(30)]
    assert {nodes.count(node) for node in core.nodes.keys} == {10}


def test_nodes_that_the_uploader_couldnt_reach_come_last(core: Core) -> None:
    assert {core.opens(avoid=("s01", "s03")).node_id for _ in range(5)} == {"s02"}
    assert core.opens(avoid=("s01", "s02", "s03")).node_id in core.nodes.keys


def test_a_session_goes_to_the_node_that_is_named(core: Core) -> None:
    for node_id in core.nodes.keys:
        assert {core.opens(node_id=node_id).node_id for _ in range(3)} == {node_id}


@pytest.mark.parametrize("state", ["draining", "readonly", "retired"])
def test_a_named_node_that_takes_no_files_is_refused_at_once_with_those_that_do(
    core: Core, state: str
) -> None:
    core.database.write(
        lambda session: session.execute(
            update(Node).where(Node.node_id == "s02").values(wanted=state)
        )
    )
    core.snapshots.forget()
    with pytest.raises(ProblemError) as refused:
        core.opens(node_id="s02")
    assert (refused.value.slug, refused.value.status) == ("node-closed", 409)
    assert refused.value.detail == (
        f"s02 takes no new files now ({state}: as an operator wants it): s01, s03 do, or name none"
    )
    with pytest.raises(ProblemError) as unknown:
        core.opens(node_id="s99")
    assert unknown.value.slug == "node-unknown"


def test_a_named_node_without_room_is_said_to_have_none(core: Core) -> None:
    core.reports("s01", disk_free=10)
    with pytest.raises(ProblemError, match="s01 has no room for 1000 bytes") as refused:
        core.opens(node_id="s01")
    assert refused.value.slug == "no-space"


@pytest.mark.parametrize(
    ("wish", "slug"),
    [
        ({"name": "a.html"}, "type-refused"),
        ({"name": "../a.iso"}, "name-refused"),
        ({"size": 5 * GIB}, "too-large"),
        ({"size": None, "max_size": 5 * GIB}, "too-large"),
        ({"max_size": 1}, "malformed-request"),
        ({"name": None, "layout": "named"}, "malformed-request"),
    ],
)
def test_what_no_node_would_take_is_refused_before_a_byte_travels(
    core: Core, wish: dict[str, Any], slug: str
) -> None:
    with pytest.raises(ProblemError) as refused:
        core.opens(**wish)
    assert refused.value.slug == slug


def test_without_the_issuers_key_there_is_a_hint(core: Core) -> None:
    sessions = SessionOpener(core.settings, core.database, core.snapshots, None)
    with pytest.raises(ProblemError, match="portside keys init") as refused:
        sessions.open(core.wish(), core.clock.now)
    assert refused.value.status == 503


def test_a_full_cluster_is_507_and_a_silent_one_503(core: Core) -> None:
    core.all_report(disk_free=999)
    with pytest.raises(ProblemError) as refused:
        core.opens()
    assert refused.value.status == 507
    core.all_report(accepting=False)
    with pytest.raises(ProblemError) as refused:
        core.opens()
    assert refused.value.slug == "no-node"
    core.all_report()
    core.opens()


@pytest.mark.parametrize("size", [0, 1000])
def test_nothing_is_placed_on_a_node_without_inodes_and_old_agents_tell_of_none(
    core: Core, size: int
) -> None:
    few = {"total": 100_000, "free": 1006, "reserved": 0, "kept_free": 1000}
    core.all_report(inodes=few)
    with pytest.raises(ProblemError) as refused:
        core.opens(size=size)
    assert refused.value.slug == "no-space"
    core.reports("s02", inodes={**few, "free": 1007})
    assert core.opens(size=size).node_id == "s02"
    # As from an agent of an older release.
    core.reports("s02", inodes=few)
    core.reports("s03")
    assert core.opens(size=size, name="b.iso").node_id == "s03"


@pytest.mark.parametrize("of", ["app", "owner", "address"])
def test_who_asks_too_often_hears_when_to_come_again(core: Core, of: str) -> None:
    core.settings = core.settings.model_copy(update={f"sessions_per_{of}": 2})
    sessions = core.new_sessions()
    wish = core.wish(client_address="192.0.2.1")
    for _ in range(2):
        sessions.open(wish, core.clock.now)
    with pytest.raises(ProblemError, match=of) as refused:
        sessions.open(wish, core.clock.now)
    assert refused.value.status == 429
    assert 0 < int(refused.value.headers["Retry-After"]) <= 30


def test_the_same_idempotency_key_finds_the_same_session(core: Core) -> None:
    first, second = core.opens("key-1"), core.opens("key-1")
    assert first == second
    assert sum(core.pool(node)[0] for node in core.nodes.keys) == 1000
    with pytest.raises(ProblemError) as refused:
        core.opens("key-1", size=2000)
    assert refused.value.slug == "idempotency-conflict"
    assert core.opens("key-2") != first


def test_the_idempotency_key_of_a_session_that_is_over_opens_another_one(core: Core) -> None:
    first = core.opens("again", layout="named", name="a.iso")
    over = first.session_deadline + timedelta(seconds=expiry.GRACE + 1)
    assert expiry.expire_sessions(core.database, over) == 1
    second = core.opens("again", layout="named", name="a.iso")
    assert second.session_id != first.session_id
    assert core.opens("again", layout="named", name="a.iso") == second
    core.counts_are_right()


def test_of_many_requests_with_one_key_at_a_time_one_opens_a_session(core: Core) -> None:
    def ask(number: int) -> str:
        return core.opens("key-1").session_id

    with ThreadPoolExecutor(8) as threads:
        assert len(set(threads.map(ask, range(16)))) == 1
    core.counts_are_right()
    assert sum(core.pool(node)[1] for node in core.nodes.keys) == 1


def test_no_byte_is_promised_twice_however_many_ask_at_a_time(core: Core) -> None:
    """Room for five on each node; forty ask, on processes that each have an old snapshot."""
    core.all_report(disk_free=5000)
    processes = [core.new_sessions() for _ in range(4)]
    for process in processes:
        process.server(1, None)

    def ask(number: int) -> bool:
        try:
            processes[number % 4].open(core.wish(), core.clock.now)
        except ProblemError as problem:
            assert problem.slug == "no-space"
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        opened = sum(threads.map(ask, range(40)))
    assert opened == 15
    assert [core.pool(node)[:2] for node in core.nodes.keys] == [(5000, 5)] * 3
    core.counts_are_right()


def test_a_pool_takes_no_more_than_its_capacity(core: Core) -> None:
    core.database.write(lambda session: session.execute(update(Pool).values(capacity=1500)))
    core.snapshots.forget()
    assert len({core.opens().node_id for _ in range(3)}) == 3
    with pytest.raises(ProblemError) as refused:
        core.opens()
    assert refused.value.slug == "no-space"


def test_a_session_that_ends_gives_its_space_back_once(core: Core) -> None:
    session = core.opens()
    late = core.clock.now + timedelta(seconds=core.settings.session_deadline)
    assert expiry.expire_sessions(core.database, late) == 0, "a body may still be in flight"
    late += timedelta(seconds=expiry.GRACE + 1)
    with ThreadPoolExecutor(4) as threads:
        expired = list(threads.map(lambda _: expiry.expire_sessions(core.database, late), range(4)))
    assert sum(expired) == 1
    assert core.pool(session.node_id) == (0, 0, 0)
    # Its file comes in all the same, late.
    core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert core.pool(session.node_id) == (0, 0, 1000)
    core.counts_are_right()


def test_a_named_file_is_there_once_in_the_cluster(core: Core) -> None:
    session = core.opens(layout="named", name="a.iso")
    core.takes(core.nodes.receipt_of(session, core.clock.now, path="files/a.iso"))
    with pytest.raises(ProblemError) as refused:
        core.opens(layout="named", name="a.iso")
    assert refused.value.slug == "name-taken"
    core.opens(layout="named", name="b.iso")


def test_of_many_who_want_one_name_at_a_time_one_gets_it(core: Core) -> None:
    """Else both files would be stored, and neither copied to where the other one is."""

    def ask(_: int) -> str:
        try:
            return core.opens(layout="named", name="a.iso").file_id
        except ProblemError as problem:
            return problem.slug

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(16)))
    (file_id,) = {answer for answer in answers if answer != "name-taken"}
    assert answers.count(file_id) == 1
    # Who can't wait calls the other one off, as the refusal says.
    with pytest.raises(ProblemError) as refused:
        core.opens(layout="named", name="a.iso")
    assert f"DELETE /api/v1/files/{file_id}" in refused.value.detail
    core.database.write(
        lambda session: service.remove(
            session, core.snapshots.current(), file_id, APP.reach, core.clock.now
        )
    )
    core.opens(layout="named", name="a.iso")
    core.counts_are_right()


def test_a_name_is_free_again_once_its_session_is_over(core: Core) -> None:
    session = core.opens(layout="named", name="a.iso")
    over = session.session_deadline + timedelta(seconds=expiry.GRACE + 1)
    assert expiry.expire_sessions(core.database, over) == 1
    core.opens(layout="named", name="a.iso")


def test_the_same_idempotency_key_finds_a_named_session_again(core: Core) -> None:
    first = core.opens("again", layout="named", name="a.iso")
    assert core.opens("again", layout="named", name="a.iso") == first
