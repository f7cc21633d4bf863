"""Files that end by themselves, as the control plane has it: by the session's word alone, once."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

import pytest

from control.cluster.reach import EVERYTHING
from control.files import lifetime_change, service, serving
from control.problems import ProblemError
from control.replication.repair import RepairRounds
from control.worker import expiry
from portside.cluster.lifetimes import Lifetimes
from portside.wire.control import Session
from portside.wire.files import LifetimeChange
from portside.wire.heartbeat import LifetimeKept
from tests.support.control.core import Core

DAY = 86400
GRACE = 7 * DAY


def uploaded(core: Core, node_id: str = "s01", told: int | None = None, **wish: Any) -> Session:
    """A file of a session that ends a day after its commit, as its node's receipt tells."""
    session = core.opens(**{"expires_in": "1d", "node_id": node_id, **wish})
    receives(core, session, node_id, told)
    return session


def receives(core: Core, session: Session, node_id: str, told: int | None = None) -> None:
    claims = {"file_id": session.file_id, "jti": session.session_id, "size": 1000}
    ends = int(core.clock.now.timestamp()) + DAY if told is None else told
    core.takes(core.nodes.receipt(node_id, core.clock.now, expires_at=ends, **claims))


def expires_at(core: Core, file_id: str) -> datetime | None:
    return core.file(file_id).expires_at


def state(core: Core, file_id: str) -> str:
    snapshot = core.snapshots.current()
    view = core.database.read(
        lambda session: service.look_up(session, snapshot, file_id, EVERYTHING, core.clock.now)
    )
    return view.state


def slug_of_url(core: Core, file_id: str) -> str:
    snapshot = core.snapshots.current()
    try:
        core.database.read(
            lambda session: serving.fetch(
                session, snapshot, core.settings, None, file_id, core.clock.now, EVERYTHING
            )
        )
    except ProblemError as problem:
        return problem.slug
    return ""


def changes(core: Core, file_id: str, **sent: Any) -> None:
    snapshot, wanted = core.snapshots.current(), LifetimeChange.model_validate(sent)
    core.database.write(
        lambda session: lifetime_change.change(
            session, snapshot, core.settings, file_id, EVERYTHING, wanted, core.clock.now
        )
    )


def ends(core: Core) -> int:
    return expiry.end_files(core.database, core.clock.now, core.settings.lifetimes.grace)


def orders(core: Core, node_id: str, **told: Any) -> list[tuple[str, int, int | None]]:
    answer = core.reports(node_id, **told)
    return [(each.file_id, each.version, each.expires_at) for each in answer.lifetimes]


def test_a_file_ends_when_its_session_says_and_goes_when_its_grace_is_over(core: Core) -> None:
    file = uploaded(core).file_id
    assert expires_at(core, file) == core.clock.now.replace(microsecond=0) + timedelta(days=1)
    assert slug_of_url(core, file) == ""
    core.clock.pass_by(DAY)
    core.all_report()
    assert (state(core, file), slug_of_url(core, file)) == ("expired", "file-expired")
    assert (ends(core), core.reports("s01").work) == (0, ())
    core.clock.pass_by(GRACE)
    core.all_report()
    assert (ends(core), ends(core)) == (1, 0)
    (lease,) = core.reports("s01").work
    assert (lease.kind, lease.file_id, lease.tombstone) == ("delete", file, True)
    assert slug_of_url(core, file) == "file-deleted"
    core.counts_are_right()


@pytest.mark.parametrize("told", [0, 2**32, 1], ids=["at-once", "in-2106", "long-ago"])
def test_no_node_s_word_ends_a_file_that_has_a_session(core: Core, told: int) -> None:
    session = uploaded(core, told=told)
    right = core.clock.now.replace(microsecond=0) + timedelta(days=1)
    assert expires_at(core, session.file_id) == right
    # The node that says otherwise is told what holds, until it says that it keeps it.
    order = (session.file_id, 0, int(right.timestamp()))
    assert orders(core, "s01") == [order]
    kept = (LifetimeKept(file_id=session.file_id, version=0),)
    assert orders(core, "s01", lifetimes=kept) == []


def test_a_file_without_a_session_lives_as_long_as_any_node_says(core: Core) -> None:
    file_id = core.stores("s01")
    assert expires_at(core, file_id) is None
    claims = {"file_id": "ab" * 16, "jti": "another-issuers"}
    now = int(core.clock.now.timestamp())
    moments = []
    for node_id, told in (("s01", now + 5), ("s02", now + DAY), ("s01", now + 5), ("s01", None)):
        core.takes(core.nodes.receipt(node_id, core.clock.now, expires_at=told, **claims))
        found = expires_at(core, "ab" * 16)
        moments.append(None if found is None else int(found.timestamp()))
    assert moments == [now + 5, now + DAY, now + DAY, None]


def test_a_changed_moment_reaches_every_node_that_has_a_copy_and_is_confirmed(core: Core) -> None:
    session = uploaded(core)
    (second,) = session.replicas
    file = session.file_id
    changes(core, file, expires_in="30d")
    newest = int(core.clock.now.timestamp()) + 30 * DAY
    # A copy that comes later from a node that didn't know yet.
    receives(core, session, second)
    for node_id in ("s01", second):
        assert orders(core, node_id) == [(file, 1, newest)]
        # It comes again until the node says so, and an older version doesn't count.
        older = (LifetimeKept(file_id=file, version=0),)
        assert orders(core, node_id, lifetimes=older) == [(file, 1, newest)]
    assert orders(core, "s01", lifetimes=(LifetimeKept(file_id=file, version=1),)) == []
    assert orders(core, second) == [(file, 1, newest)]


def test_an_end_is_taken_back_within_the_grace_and_not_later(core: Core) -> None:
    file = uploaded(core).file_id
    core.clock.pass_by(DAY + GRACE - 1)
    changes(core, file, expires_at=None)
    core.all_report()
    assert (ends(core), slug_of_url(core, file)) == (0, "")
    changes(core, file, expires_in=0)
    assert slug_of_url(core, file) == "file-expired"
    core.clock.pass_by(GRACE)
    for again in range(2):
        with pytest.raises(ProblemError) as refused:
            changes(core, file, expires_at=None)
        assert refused.value.slug == "file-deleted"
        assert ends(core) == (0 if again else 1)


def test_an_ended_file_is_copied_nowhere_and_no_copy_of_it_counts_as_lost(core: Core) -> None:
    file = uploaded(core).file_id
    core.clock.pass_by(DAY)
    core.all_report()
    RepairRounds(core.database, core.settings, core.snapshots).round(core.clock.now)
    assert all(core.reports(node_id).work == () for node_id in core.nodes.keys)
    assert core.copies(file)["s01"] == "present"


def test_a_namespace_gives_a_lifetime_and_refuses_a_longer_one(core: Core) -> None:
    rules = Lifetimes(default={"images": 60}, longest={"images": 3600})
    core.settings = core.settings.model_copy(update={"lifetimes": rules})
    assert core.opens(namespace="images").expires_in == 60
    assert core.opens(namespace="images", expires_in=3600).expires_in == 3600
    assert core.opens(namespace="files").expires_in is None
    with pytest.raises(ProblemError) as refused:
        core.opens(namespace="images", expires_in=3601)
    assert (refused.value.slug, "3600 seconds" in refused.value.detail) == (
        "lifetime-refused",
        True,
    )
    file = core.opens(namespace="images", expires_in=60)
    path = PurePosixPath("images/2026/01/02/03/a.iso")
    core.takes(core.nodes.receipt_of(file, core.clock.now, path=path))
    for sent in ({"expires_at": None}, {"expires_in": "2h"}):
        with pytest.raises(ProblemError) as refused:
            changes(core, file.file_id, **sent)
        assert refused.value.slug == "lifetime-refused"
