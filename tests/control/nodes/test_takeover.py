"""A catalogue that doesn't know what its nodes have is made whole by what they tell."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import func, select

from control.cluster.reach import EVERYTHING
from control.db.models import Work
from control.files import service
from control.nodes.inventories import MOST_TELLING
from control.problems import ProblemError
from control.replication.inventory import LEARNING
from control.replication.repair import RepairRounds
from control.worker.rounds import claim
from portside.inventory import EMPTY, toggled
from portside.tokens import SigningKey
from portside.wire.heartbeat import GoneFile
from portside.wire.inventory import (
    HeldFiles,
    HeldFilesAnswer,
)
from tests.support.control.cluster import done, take_over
from tests.support.control.core import APP, Core
from tests.support.control.inventories import asks, held, inventories, tells


def _view(core: Core, file_id: str) -> dict[str, Any]:
    view = core.database.read(
        lambda session: service.look_up(
            session, core.snapshots.current(), file_id, EVERYTHING, core.clock.now
        )
    )
    return view.model_dump()


def test_files_that_are_not_known_are_taken_over_with_owner_app_and_name(core: Core) -> None:
    files = [held(owner=f"user-{number}", app="shop") for number in range(20)]
    assert tells(core, "s01", *files) == HeldFilesAnswer(taken=20)
    assert tells(core, "s02", *files) == HeldFilesAnswer(taken=20)
    for each in files:
        view = _view(core, each.file_id)
        assert (view["owner"], view["name"]) == (each.owner, each.name)
        assert view["state"] == "safe"
        assert view["committed_at"] == each.committed_at
        assert view["content_type"] == each.content_type
        assert core.file(each.file_id).app_id == "shop"
    assert core.reports("s01").inventory == toggled(EMPTY, [each.file_id for each in files])
    assert core.pool("s01")[2] == core.pool("s02")[2] == 20 * 1000
    core.counts_are_right()


def test_what_is_told_twice_changes_nothing_the_second_time(core: Core) -> None:
    files = [held() for _ in range(3)]
    tells(core, "s01", *files)
    assert tells(core, "s01", *files, files[0]) == HeldFilesAnswer(taken=3)
    core.counts_are_right()


def test_a_file_whose_receipt_came_first_gets_its_owner_from_its_node(core: Core) -> None:
    file = held()
    core.takes(
        core.nodes.receipt(
            "s01",
            core.clock.now,
            **file.model_dump(include={"file_id", "jti", "path", "sha256", "committed_at"}),
        )
    )
    assert core.file(file.file_id).owner == "unknown"
    tells(core, "s01", file)
    found = core.file(file.file_id)
    assert (found.owner, found.app_id, found.name) == ("alice", "shop", file.name)
    core.counts_are_right()


def test_a_file_of_an_open_session_closes_it(core: Core) -> None:
    session = core.opens()
    file = held(file_id=session.file_id, jti=session.session_id, owner="user-7")
    tells(core, session.node_id, file)
    assert core.pool(session.node_id)[:2] == (0, 0), "its promise is given back"
    assert core.file(session.file_id).app_id == APP.app_id
    core.counts_are_right()


def test_a_file_that_was_deleted_is_deleted_where_it_turns_up(core: Core) -> None:
    file = held()
    tells(core, "s01", file)
    core.database.write(
        lambda session: service.remove(
            session, core.snapshots.current(), file.file_id, EVERYTHING, core.clock.now
        )
    )
    (lease,) = core.reports("s01").work
    core.reports("s01", work=[done(lease.lease_id)])
    assert core.file(file.file_id).state == "deleted"
    tells(core, "s02", file)
    (lease,) = core.reports("s02").work
    assert (lease.kind, lease.file_id, lease.tombstone) == ("delete", file.file_id, True)
    core.counts_are_right()


def test_a_file_of_an_upload_that_was_called_off_is_deleted(core: Core) -> None:
    session = core.opens()
    core.database.write(
        lambda transaction: service.remove(
            transaction, core.snapshots.current(), session.file_id, APP.reach, core.clock.now
        )
    )
    tells(core, session.node_id, held(file_id=session.file_id, jti=session.session_id))
    (lease,) = core.reports(session.node_id).work
    assert (lease.kind, lease.file_id) == ("delete", session.file_id)


@pytest.mark.parametrize("other", [{"sha256": "0" * 64}, {"size": 999}])
def test_another_content_under_a_known_id_is_not_taken_over(
    core: Core, other: dict[str, Any]
) -> None:
    file, good = held(), held()
    tells(core, "s01", file)
    answer = tells(core, "s02", held(**{**dict(file), **other}), good)
    assert answer.taken == 1
    assert [each.file_id for each in answer.not_taken] == [file.file_id]
    assert "another content" in answer.not_taken[0].why
    assert core.copies(file.file_id) == {"s01": "present"}
    assert core.copies(good.file_id) == {"s02": "present"}
    core.counts_are_right()


def test_word_of_a_copy_from_before_it_was_lost_does_not_bring_it_back(core: Core) -> None:
    file = held()
    tells(core, "s01", file)
    tells(core, "s02", file)
    before = core.ticket("s01")
    core.reports("s01", gone=(GoneFile(file_id=file.file_id, why="damaged"),))
    assert tells(core, "s01", file, ticket=before).outdated
    assert tells(core, "s01", file, ticket="").outdated
    assert core.copies(file.file_id)["s01"] == "lost"
    assert not tells(core, "s01", file).outdated
    assert core.copies(file.file_id)["s01"] == "present"
    core.counts_are_right()


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "file", "other/x.iso"])
def test_a_path_that_is_none_of_the_files_namespace_is_not_taken_and_the_others_are(
    core: Core, path: str
) -> None:
    bad, good = held(path=path), held()
    answer = tells(core, "s01", bad, good)
    assert (answer.taken, [each.file_id for each in answer.not_taken]) == (1, [bad.file_id])
    assert core.reports("s01").inventory == toggled(EMPTY, [good.file_id])


def test_so_many_nodes_at_a_time_are_listened_to_that_others_find_a_thread(core: Core) -> None:
    listening = inventories(core)
    message = HeldFiles(node_id="s01", ticket=core.ticket("s01"), files=(held(),))
    token, body = core.nodes.message("s01", message, core.clock.now)
    with ExitStack() as telling:
        for _ in range(MOST_TELLING):
            telling.enter_context(listening._telling)
        with pytest.raises(ProblemError) as refused:
            listening.take_over("s01", token, body, core.clock.now)
        assert refused.value.slug == "rate-limited"
    assert listening.take_over("s01", token, body, core.clock.now).taken == 1


def test_an_owner_whose_name_is_unknown_is_known(core: Core) -> None:
    file = held(owner="unknown")
    tells(core, "s01", file)
    assert core.reports("s01").inventory == toggled(EMPTY, [file.file_id]), "nothing differs"
    assert asks(core, "s01", file.file_id).same
    core.counts_are_right()


def test_a_node_with_a_new_key_loses_none_of_its_files(core: Core) -> None:
    known, unknown = held(), held()
    tells(core, "s01", known)
    core.nodes.keys["s01"] = SigningKey.generate("s01")
    take_over(core.database, core.nodes.roster(version=2), core.clock.now)
    core.snapshots.forget()
    core.reports("s01", files=2, inventory=toggled(EMPTY, [known.file_id, unknown.file_id]))
    assert asks(core, "s01", *sorted([known.file_id, unknown.file_id])).wanted == (unknown.file_id,)
    assert tells(core, "s01", known, unknown).taken == 2
    for file in (known, unknown):
        assert core.copies(file.file_id) == {"s01": "present"}
        assert core.file(file.file_id).owner == "alice"
    core.counts_are_right()


def _orders(core: Core) -> int:
    """Go a round of repair; returns how many copies are ordered by then."""
    RepairRounds(core.database, core.settings, core.snapshots).round(core.clock.now)
    return core.database.read(
        lambda session: session.scalar(select(func.count()).select_from(Work)) or 0
    )


def _listens(core: Core) -> None:
    """The worker's rounds begin, as after a restore; every node is heard."""
    assert claim(core.settings, core.database, core.clock.now)
    core.all_report()


def test_no_copy_is_ordered_while_other_nodes_are_still_to_tell_of_theirs(core: Core) -> None:
    file = held()
    _listens(core)
    core.reports("s02", files=1, stored_bytes=1000)
    tells(core, "s01", file)
    core.reports("s01", files=1, stored_bytes=1000)
    assert _orders(core) == 0, "s02 has something that isn't known yet"
    tells(core, "s02", file)
    assert _orders(core) == 0
    assert core.copies(file.file_id) == {"s01": "present", "s02": "present"}


def test_files_that_never_can_be_told_of_do_not_keep_others_from_being_copied(core: Core) -> None:
    _listens(core)
    core.reports("s02", files=1, stored_bytes=1000)
    tells(core, "s01", held())
    assert _orders(core) == 0
    core.clock.pass_by(LEARNING.total_seconds())
    core.all_report()
    core.reports("s02", files=1, stored_bytes=1000)
    assert _orders(core) == 1
