"""What a session has promised is given back once nothing can begin in it any more."""

from __future__ import annotations

import pytest

from control.sessions.unbegun import SURE
from portside.tokens import LEEWAY
from portside.wire.control import Session
from tests.support.control.core import Core

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def until_nothing_begins(core: Core, session: Session) -> None:
    """Time passes by the token's `exp`, and what its node lets pass beside it."""
    left = session.expires_at - core.clock.now + SURE
    core.clock.pass_by(left.total_seconds() + 1)


def test_a_session_that_did_not_begin_is_over_at_its_tokens_exp(core: Core) -> None:
    session = core.opens()
    core.reports(session.node_id, begun=())
    assert core.pool(session.node_id)[:2] == (1000, 1)
    core.clock.pass_by((session.expires_at - core.clock.now).total_seconds() + LEEWAY)
    core.reports(session.node_id, begun=())
    assert core.pool(session.node_id)[:2] == (1000, 1), "its node may let it begin yet"
    until_nothing_begins(core, session)
    for _ in range(2):
        core.reports(session.node_id, begun=())
        assert core.pool(session.node_id)[:2] == (0, 0)
    core.counts_are_right()


@pytest.mark.parametrize("told", ["begun", "by an older release", "by another node", "too early"])
def test_a_session_that_may_have_begun_keeps_its_promise(core: Core, told: str) -> None:
    session = core.opens()
    until_nothing_begins(core, session)
    if told == "begun":
        core.reports(session.node_id, begun=("a-token-of-others", session.session_id))
    elif told == "by an older release":
        core.reports(session.node_id)
    elif told == "by another node":
        for node_id in set(core.nodes.keys) - {session.node_id}:
            core.reports(node_id, begun=())
    else:
        # Its clock is behind: for it the token counts yet.
        core.skews[session.node_id] = -LEEWAY
        core.reports(session.node_id, begun=())
    assert core.pool(session.node_id)[:2] == (1000, 1)
    core.counts_are_right()


def test_what_was_stored_all_the_same_is_taken_in(core: Core) -> None:
    """Its receipt was on its way for as long: what a node acknowledged is never lost."""
    session = core.opens()
    until_nothing_begins(core, session)
    core.reports(session.node_id, begun=())
    file_id = core.takes(core.nodes.receipt_of(session, core.clock.now))
    assert core.file(file_id).state == "committed"
    assert core.pool(session.node_id) == (0, 0, 1000)
    core.counts_are_right()


def test_the_name_of_a_session_that_did_not_begin_is_free_again(core: Core) -> None:
    first = core.opens("key", layout="named")
    until_nothing_begins(core, first)
    core.all_report(begun=())
    assert core.opens("key", layout="named").session_id != first.session_id
