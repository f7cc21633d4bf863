"""A catalogue that doesn't know what its nodes have is told, and made whole by what it is told."""

from __future__ import annotations

import hashlib
import secrets
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import func, select

from control.catalogue import inventory
from control.db.database import Database
from control.db.models import Work
from control.files import service
from control.nodes.inventories import MOST_TELLING, Inventories
from control.nodes.service import set_state
from control.problems import ProblemError
from control.replication import inventory as replication_inventory
from control.replication.inventory import LEARNING
from control.replication.repair import RepairRounds
from control.worker.rounds import Round, claim, fold_inventories
from portside.inventory import EMPTY, toggled
from portside.tokens import SigningKey
from portside.wire.control import NodeStateRequest
from portside.wire.heartbeat import GoneFile
from portside.wire.inventory import (
    MOST_IDS,
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryAnswer,
    InventoryPage,
)
from tests.support.control.cluster import done, take_over
from tests.support.control.core import APP, Core


def held(**changed: Any) -> HeldFile:
    """A file as its node's attributes have it."""
    file_id = secrets.token_hex(16)
    return HeldFile.model_validate(
        {
            "file_id": file_id,
            "jti": secrets.token_hex(16),
            "namespace": "files",
            "owner": "alice",
            "app": "shop",
            "name": "Überschrift.iso",
            "path": PurePosixPath("files/2026/01/02/03", f"a_{file_id[:8]}.iso"),
            "size": 1000,
            "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
            "content_type": "application/x-iso9660-image",
            "committed_at": "2026-01-02T03:04:05Z",
            **changed,
        }
    )


def tells(core: Core, node_id: str, *files: HeldFile, ticket: str | None = None) -> HeldFilesAnswer:
    """What a node says that it has, with its last ticket unless another is given."""
    message = HeldFiles(
        node_id=node_id, ticket=core.ticket(node_id) if ticket is None else ticket, files=files
    )
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return _inventories(core).take_over(node_id, token, body, core.clock.now)


def asks(
    core: Core,
    node_id: str,
    *file_ids: str,
    after: str | None = None,
    last: str | None = None,
    with_ids: bool = True,
) -> InventoryAnswer:
    message = InventoryPage(
        node_id=node_id,
        after=after,
        last=last,
        digest=toggled(EMPTY, file_ids),
        file_ids=file_ids if with_ids else None,
    )
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return _inventories(core).compare(node_id, token, body, core.clock.now)


def _inventories(core: Core) -> Inventories:
    return Inventories(core.settings, core.database, core.snapshots, core.runs)


def _view(core: Core, file_id: str) -> dict[str, Any]:
    view = core.database.read(
        lambda session: service.look_up(session, core.snapshots.current(), file_id, None)
    )
    return view.model_dump()


# -- what is believed ------------------------------------------------------------------------------


def test_each_heartbeat_is_answered_with_the_digest_of_what_the_node_should_have(
    core: Core,
) -> None:
    files = [core.stores("s01") for _ in range(3)]
    assert core.reports("s01").inventory == toggled(EMPTY, files)
    assert core.reports("s02").inventory == EMPTY
    core.reports("s01", gone=(GoneFile(file_id=files[0], why="damaged"),))
    assert core.reports("s01").inventory == toggled(EMPTY, files[1:])
    core.counts_are_right()


def test_the_digest_is_the_same_once_its_changes_are_folded(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inventory, "FOLDED_AT", 2)
    monkeypatch.setattr(inventory, "MOST_FOLDED", 2)
    files = [core.stores("s01", "s02") for _ in range(5)]
    fold_inventories(Round(core.settings, core.database, core.clock.now))
    later = core.stores("s01")
    assert core.reports("s01").inventory == toggled(EMPTY, [*files, later])
    assert core.reports("s02").inventory == toggled(EMPTY, files)
    core.counts_are_right()


def test_a_page_that_is_the_same_on_both_sides_asks_for_nothing(core: Core) -> None:
    files = sorted(core.stores("s01") for _ in range(4))
    assert asks(core, "s01", *files, with_ids=False).same
    assert asks(core, "s01", *files[:2], last=files[1], with_ids=False).same
    assert asks(core, "s01", *files[2:], after=files[1], with_ids=False).same
    assert asks(core, "s02", with_ids=False).same


def test_a_page_that_differs_says_what_is_wanted_and_what_is_missing(core: Core) -> None:
    files = sorted(core.stores("s01") for _ in range(3))
    unknown = held().file_id
    page = sorted((*files[1:], unknown))
    assert not asks(core, "s01", *page, with_ids=False).same
    answer = asks(core, "s01", *page)
    assert answer.wanted == (unknown,)
    assert [each.file_id for each in answer.missing] == files[:1]
    assert str(answer.missing[0].path) == core.file(files[0]).path
    assert set(core.copies(files[0]).values()) == {"present"}, "asking changes nothing"


LOW, MIDDLE, HIGH = ("0" * 32, "8" * 32, "f" * 32)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ({"file_ids": (HIGH, LOW)}, "rising order"),
        ({"file_ids": (LOW, LOW)}, "rising order"),
        ({"file_ids": (LOW,), "after": MIDDLE}, "before the page's beginning"),
        ({"file_ids": (MIDDLE,), "after": MIDDLE}, "before the page's beginning"),
        ({"file_ids": (HIGH,), "last": MIDDLE}, "behind the page's end"),
        ({"file_ids": (), "after": HIGH, "last": LOW}, "ends before it begins"),
        ({"file_ids": (LOW,), "digest": EMPTY}, "digest is not of these"),
        ({"file_ids": tuple(f"{n:032x}" for n in range(MOST_IDS + 1))}, "at most 2000"),
    ],
)
def test_a_page_that_lies_about_itself_is_refused(
    core: Core, page: dict[str, Any], why: str
) -> None:
    said = {"node_id": "s01", "after": None, "last": None, **page}
    said.setdefault("digest", toggled(EMPTY, said["file_ids"]))
    message = InventoryPage.model_construct(**said)
    token, body = core.nodes.message("s01", message, core.clock.now)
    with pytest.raises(ProblemError, match=why) as refused:
        _inventories(core).compare("s01", token, body, core.clock.now)
    assert refused.value.slug == "malformed-request"


def test_bounds_with_more_between_them_than_a_page_holds_are_answered_piece_by_piece(
    core: Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replication_inventory, "MOST_IDS", 3)
    monkeypatch.setattr(replication_inventory, "MOST_MISSING", 2)
    files = sorted(core.stores("s01") for _ in range(5))
    # The digest of what was read fits a lie about the rest.
    assert not asks(core, "s01", *files[:4], with_ids=False).same
    answer = asks(core, "s01")
    assert not answer.same
    assert [each.file_id for each in answer.missing] == files[:2]


def test_a_file_that_comes_while_pages_are_read_is_neither_wanted_nor_missing(core: Core) -> None:
    files = sorted(core.stores("s01") for _ in range(2))
    # The node has read its page; the receipt of the next file is here before it.
    late = core.stores("s01")
    answer = asks(core, "s01", *files)
    assert answer.wanted == ()
    # It is asked about, and the node, which has it, says nothing.
    assert [each.file_id for each in answer.missing] == [late]
    assert core.copies(late) == {"s01": "present"}


def test_what_the_node_looked_for_and_does_not_have_is_made_again(core: Core) -> None:
    file_id = core.stores("s01", "s02")
    core.reports("s01", gone=(GoneFile(file_id=file_id, why="missing"),))
    assert core.copies(file_id) == {"s01": "lost", "s02": "present"}
    assert core.file(file_id).state == "committed", "elsewhere it lives on"
    core.counts_are_right()


# -- what is taken over ----------------------------------------------------------------------------


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
            session, core.snapshots.current(), file.file_id, None, core.clock.now
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
            transaction, core.snapshots.current(), session.file_id, APP.app_id, core.clock.now
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
    inventories = _inventories(core)
    message = HeldFiles(node_id="s01", ticket=core.ticket("s01"), files=(held(),))
    token, body = core.nodes.message("s01", message, core.clock.now)
    with ExitStack() as telling:
        for _ in range(MOST_TELLING):
            telling.enter_context(inventories._telling)
        with pytest.raises(ProblemError) as refused:
            inventories.take_over("s01", token, body, core.clock.now)
        assert refused.value.slug == "rate-limited"
    assert inventories.take_over("s01", token, body, core.clock.now).taken == 1


def test_an_owner_whose_name_is_unknown_is_known(core: Core) -> None:
    file = held(owner="unknown")
    tells(core, "s01", file)
    assert core.reports("s01").inventory == toggled(EMPTY, [file.file_id]), "nothing differs"
    assert asks(core, "s01", file.file_id).same
    core.counts_are_right()


def test_a_node_speaks_for_itself_alone(core: Core) -> None:
    message = HeldFiles(node_id="s02", ticket="", files=(held(),))
    token, body = core.nodes.message("s01", message, core.clock.now)
    for said in ("s01", "s02"):
        with pytest.raises(ProblemError) as refused:
            _inventories(core).take_over(said, token, body, core.clock.now)
        assert refused.value.slug in ("token-wrong-node", "token-unknown-key", "token-signature")


# -- two machines, one key -------------------------------------------------------------------------


def _is_refused(core: Core, run: str) -> bool:
    try:
        core.reports("s01", run=run)
    except ProblemError as problem:
        assert problem.slug == "node-twice", problem.detail
        assert "one has a copy of the other's disk" in problem.detail
        return True
    return False


def test_two_machines_with_one_key_are_refused_and_nothing_of_theirs_is_taken_over(
    core: Core,
) -> None:
    every = core.settings.heartbeat_every
    assert core.reports("s01", run="a").inventory == EMPTY
    core.clock.pass_by(every)
    # It may be a worker that was started anew: who else there is shows within a heartbeat or two.
    assert core.reports("s01", run="b").inventory is None
    core.clock.pass_by(every / 2)
    assert _is_refused(core, "a")
    assert _is_refused(core, "b")
    with pytest.raises(ProblemError, match="two machines"):
        tells(core, "s01", held())
    with pytest.raises(ProblemError, match="two machines"):
        asks(core, "s01")
    assert core.reports("s02", run="a").inventory == EMPTY, "other nodes are other nodes"


def test_once_one_of_two_machines_is_stopped_the_other_is_heard_again(core: Core) -> None:
    every = core.settings.heartbeat_every
    for run in ("a", "b"):
        core.reports("s01", run=run)
    assert _is_refused(core, "a")
    for _ in range(10):
        core.clock.pass_by(every)
        if not _is_refused(core, "a"):
            break
    assert not _is_refused(core, "a")
    assert core.reports("s01", run="a").inventory == EMPTY
    file = held()
    assert tells(core, "s01", file).taken == 1


def test_a_worker_that_is_started_anew_is_compared_with_again_soon(core: Core) -> None:
    every = core.settings.heartbeat_every
    for run in ("a", "b", "c"):
        core.reports("s01", run=run)
        answers = []
        for _ in range(3):
            core.clock.pass_by(every)
            answers.append(core.reports("s01", run=run).inventory)
        assert answers[-1] == EMPTY


# -- copies are not made of what is only not yet known ---------------------------------------------


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


# -- deletions that an older database doesn't know ------------------------------------------------


def _buries(core: Core, node_id: str, *files: HeldFile) -> HeldFilesAnswer:
    message = HeldFiles(node_id=node_id, ticket=core.ticket(node_id), files=files, deleted=True)
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return _inventories(core).take_over(node_id, token, body, core.clock.now)


def test_a_file_that_one_node_has_deleted_for_good_is_not_learned_from_another(core: Core) -> None:
    core.all_report()
    assert core.reports("s01").learned_at is None
    file, kept = held(), held()
    learned_at = core.clock.now
    tells(core, "s02", file, kept)
    core.snapshots.forget()
    assert core.reports("s01").learned_at == learned_at
    ids = (file.file_id, "f" * 32)
    page = InventoryPage(
        node_id="s01",
        after=None,
        last=None,
        digest=toggled(EMPTY, ids),
        file_ids=ids,
        deleted=True,
    )
    token, body = core.nodes.message("s01", page, core.clock.now)
    answer = _inventories(core).compare("s01", token, body, core.clock.now)
    assert answer.wanted == (file.file_id,)
    assert _buries(core, "s01", file).taken == 1
    assert core.file(file.file_id).state == "deleting"
    assert core.copies(file.file_id) == {"s02": "deleting"}
    assert core.file(kept.file_id).state == "committed"
    core.counts_are_right()


def test_only_who_knows_the_file_can_say_that_it_was_deleted(core: Core) -> None:
    core.all_report()
    file = held()
    tells(core, "s02", file)
    lies = (
        {"jti": secrets.token_hex(16)},
        {"sha256": "0" * 64},
        {"path": PurePosixPath("files/other.iso")},
    )
    for lie in lies:
        (refused,) = _buries(core, "s01", file.model_copy(update=lie)).not_taken
        assert (refused.file_id, refused.why) == (file.file_id, "it was another file")
    assert core.copies(file.file_id) == {"s02": "present"}


# -- what may go -----------------------------------------------------------------------------------


def _retires(core: Core, node_id: str, *, force: bool = False) -> None:
    core.database.write(
        lambda session: set_state(
            session,
            core.snapshots,
            core.settings,
            node_id,
            NodeStateRequest(state="retired", force=force),
            core.clock.now,
        )
    )


def test_a_node_is_not_retired_that_has_files_which_are_not_known(core: Core) -> None:
    core.reports("s01", files=1, inventory=toggled(EMPTY, [held().file_id]))
    with pytest.raises(ProblemError, match="itself says that it has 1 files") as refused:
        _retires(core, "s01")
    assert refused.value.slug == "node-in-use"
    core.reports("s01")
    _retires(core, "s01")


def test_a_node_that_a_new_database_has_not_heard_is_not_retired_without_force(
    tmp_path: Path, database: Database, database_url: str
) -> None:
    core = Core(tmp_path, database, database_url)
    with pytest.raises(ProblemError, match="never heard here and can't say that it keeps nothing"):
        _retires(core, "s01")
    _retires(core, "s01", force=True)


def test_a_node_that_is_silent_is_not_retired_without_force(core: Core) -> None:
    core.clock.pass_by(core.settings.dead_after + 1)
    with pytest.raises(ProblemError, match="can't say that it keeps nothing"):
        _retires(core, "s01")
    _retires(core, "s01", force=True)


# -- what an older database publishes --------------------------------------------------------------


def test_a_database_older_than_its_nodes_rosters_publishes_one_that_they_take(core: Core) -> None:
    ahead = core.snapshots.current().roster.version + 1000
    core.reports("s01", roster_version=ahead)
    answer = core.reports("s02", roster_version=ahead)
    assert answer.roster is not None
    assert answer.roster.version > ahead


def test_a_roster_from_no_clocks_future_is_not_believed(core: Core) -> None:
    before = core.snapshots.current().roster.version
    core.reports("s01", roster_version=2**61)
    assert core.snapshots.current().roster.version == before
