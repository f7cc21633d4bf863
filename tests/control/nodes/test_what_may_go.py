"""An older catalogue brings back nothing that was deleted, and lets no node go that has files."""

from __future__ import annotations

import secrets
from pathlib import Path, PurePosixPath

import pytest

from control.cluster import backup_check
from control.db.database import Database
from control.nodes.service import set_state
from control.problems import ProblemError
from portside.inventory import EMPTY, toggled
from portside.wire.control import NodeStateRequest
from portside.wire.inventory import (
    HeldFile,
    HeldFiles,
    HeldFilesAnswer,
    InventoryPage,
)
from tests.support.control.core import Core
from tests.support.control.inventories import held, inventories, tells
from tests.support.control.orders import ordered


def _buries(core: Core, node_id: str, *files: HeldFile) -> HeldFilesAnswer:
    message = HeldFiles(node_id=node_id, ticket=core.ticket(node_id), files=files, deleted=True)
    token, body = core.nodes.message(node_id, message, core.clock.now)
    return inventories(core).take_over(node_id, token, body, core.clock.now)


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
    answer = inventories(core).compare("s01", token, body, core.clock.now)
    assert answer.wanted == (file.file_id,)
    assert _buries(core, "s01", ordered(core, "s01", file)).taken == 1
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
    with pytest.raises(ProblemError, match=r"never heard here, .* can't say that it keeps nothing"):
        _retires(core, "s01")
    _retires(core, "s01", force=True)


def test_what_a_node_said_before_the_backup_was_made_lets_it_not_go(core: Core) -> None:
    core.reports("s01", files=0)
    core.database.write(backup_check.forget_heartbeats)
    with pytest.raises(ProblemError, match="not since the database was restored"):
        _retires(core, "s01")
    core.reports("s01", files=0)
    _retires(core, "s01")


def test_a_node_that_is_silent_is_not_retired_without_force(core: Core) -> None:
    core.clock.pass_by(core.settings.dead_after + 1)
    with pytest.raises(ProblemError, match="can't say that it keeps nothing"):
        _retires(core, "s01")
    _retires(core, "s01", force=True)
