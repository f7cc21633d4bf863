"""What a node should have is compared with what it has, and only it can say what that is."""

from __future__ import annotations

from typing import Any

import pytest

from control.catalogue import inventory
from control.problems import ProblemError
from control.replication import inventory as replication_inventory
from control.worker.rounds import Round, fold_inventories
from portside.inventory import EMPTY, toggled
from portside.wire.heartbeat import GoneFile
from portside.wire.inventory import (
    MOST_IDS,
    HeldFiles,
    InventoryPage,
)
from tests.support.control.core import Core
from tests.support.control.inventories import asks, held, inventories, tells


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
        inventories(core).compare("s01", token, body, core.clock.now)
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


def test_a_node_speaks_for_itself_alone(core: Core) -> None:
    message = HeldFiles(node_id="s02", ticket="", files=(held(),))
    token, body = core.nodes.message("s01", message, core.clock.now)
    for said in ("s01", "s02"):
        with pytest.raises(ProblemError) as refused:
            inventories(core).take_over(said, token, body, core.clock.now)
        assert refused.value.slug in ("token-wrong-node", "token-unknown-key", "token-signature")


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
