"""One owner's sessions leave room for those of others, however many are opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from control.cluster.read_model import KnownApp
from control.problems import ProblemError
from control.sessions.checks import AppRequest
from control.sessions.opening import SessionOpener
from tests.support.control.core import Core

ROOM = 5000


@pytest.fixture
def half(core: Core) -> Core:
    """A cluster where one owner's sessions hold half of a pool at most."""
    core.settings = core.settings.model_copy(update={"promised_per_owner": 0.5})
    core.all_report(disk_free=ROOM)
    return core


def opens(core: Core, sessions: SessionOpener, **wish: Any) -> str:
    """The node of a session of 1000 bytes, or why there is none."""
    try:
        return sessions.open(core.wish(**wish), core.clock.now)[0].node_id
    except ProblemError as problem:
        assert problem.slug in ("too-much-promised", "no-space")
        return str(problem.slug)


def test_an_owner_cant_promise_himself_everything_whoever_is_asked(half: Core) -> None:
    """Forty ask on processes that each have an old snapshot: two of five on each node get it."""
    processes = [half.new_sessions() for _ in range(4)]
    for process in processes:
        process.server(1, None)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda each: opens(half, processes[each % 4]), range(40)))
    assert found.count("too-much-promised") == 40 - 6
    assert [half.pool(node)[:2] for node in half.nodes.keys] == [(2000, 2)] * 3
    half.snapshots.forget()
    fresh = half.new_sessions()
    assert opens(half, fresh, owner="another") in half.nodes.keys
    # The same name is somebody else's in another app.
    asked = half.wish()
    stranger = AppRequest(KnownApp("other", frozenset({"upload"})), asked.request)
    assert fresh.open(stranger, half.clock.now)[1]
    half.counts_are_right()


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_one_large_file_is_let_in_and_what_comes_beside_it_goes_elsewhere(half: Core) -> None:
    sessions = half.new_sessions()
    large = sessions.open(half.wish(size=ROOM - 500), half.clock.now)[0]
    assert opens(half, sessions, size=ROOM - 500) == "too-much-promised", "one, in all"
    nodes = {opens(half, sessions) for _ in range(4)}
    assert nodes == set(half.nodes.keys) - {large.node_id}
    with pytest.raises(ProblemError) as refused:
        half.new_sessions().open(half.wish(size=100, node_id=large.node_id), half.clock.now)
    assert refused.value.slug == "too-much-promised"
    for words in ("5 open sessions", "8500 bytes", "50%", "DELETE"):
        assert words in refused.value.detail
    # What is stored is promised no more.
    half.takes(half.nodes.receipt_of(large, half.clock.now, size=ROOM - 500))
    assert opens(half, half.new_sessions(), size=100, node_id=large.node_id) == large.node_id


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_where_others_have_taken_the_room_that_is_said(half: Core) -> None:
    sessions = half.new_sessions()
    assert opens(half, sessions, size=ROOM + 1) == "no-space"
    for number in range(15):
        assert opens(half, sessions, owner=f"owner-{number}") in half.nodes.keys
    assert opens(half, half.new_sessions()) == "no-space"
