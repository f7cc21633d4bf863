"""What the control plane lacks of a node's files it is told; what it believes in vain, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

import pytest

from agent.heartbeat.tombstones import SETTLED
from portside.orders.copies import verify_held
from portside.web.authorization import bearer
from portside.wire.heartbeat import GoneFile, Roster
from portside.wire.inventory import HeldFile
from portside.wire.keys import Keyset
from tests.support.agent.control_double import ControlDouble
from tests.support.agent.process import ISSUER
from tests.support.agent.stored_files import access, ask, data_of, flip_a_bit, stored
from tests.support.agent.worker_process import Worker

EVERY = 0.2
NOWHERE = "f" * 32


@pytest.fixture
def control() -> Iterator[ControlDouble]:
    with ControlDouble() as double:
        yield double


@pytest.fixture
def node(make_worker: Callable[..., Worker], control: ControlDouble) -> Worker:
    """A running agent and its worker, not started yet, which know of the control plane."""
    worker = make_worker(heartbeat_every=EVERY)
    control.keys = worker.agent.node_keys
    roster = Roster(version=10, cluster="lab", control_url=control.url)
    (worker.agent.home / "roster.json").write_text(roster.model_dump_json())
    control.believed = {}
    return worker


def told(control: ControlDouble) -> list[HeldFile]:
    return [file for held in control.held for file in held.files]


def gone(control: ControlDouble) -> list[GoneFile]:
    return [each for heartbeat in control.heartbeats for each in heartbeat.gone]


def test_files_that_are_not_known_are_told_with_all_that_is_known_of_them(
    node: Worker, control: ControlDouble
) -> None:
    files = {
        file.file_id: file
        for file in (
            stored(node.agent, f"{owner}.bin", owner.encode(), sub=owner, app=app)
            for owner, app in [("alice", "shop"), ("bob", None)]
        )
    }
    node.start()
    control.wait_for(lambda: len(told(control)) == len(files), "every file is told")
    for each in told(control):
        file = files[each.file_id]
        same = set(HeldFile.model_fields) - {"jti", "order", "deleted_at", "proof"}
        assert each.model_dump(include=same) == file.model_dump(include=same)
        # With what an issuer signed, so that more than a node's word is behind it.
        verify_held(each, Keyset(keys=(ISSUER.public(),)), node.agent.node_id)
    control.wait_for_heartbeats(2)
    assert len(told(control)) == len(files), "what is known isn't told again"


def test_a_control_plane_that_knows_all_is_asked_nothing(
    node: Worker, control: ControlDouble
) -> None:
    file = stored(node.agent, "a.bin", b"a")
    control.believed = {file.file_id: file.path}
    node.start()
    control.wait_for_heartbeats(3)
    assert control.pages == []


def test_a_file_that_should_be_here_and_is_not_is_told_to_be_missing(
    node: Worker, control: ControlDouble
) -> None:
    control.believed = {NOWHERE: PurePosixPath("isos/nowhere.bin")}
    node.start()
    control.wait_for(lambda: GoneFile(file_id=NOWHERE, why="missing") in gone(control))


def test_a_file_that_was_deleted_here_is_told_to_be_deleted(
    node: Worker, control: ControlDouble
) -> None:
    control.believed = None
    file = stored(node.agent, "a.bin", b"a")
    node.start()
    control.wait_for_heartbeats()
    asked = access(node.agent)
    assert ask(node.agent, "DELETE", f"/{file.file_id}", asked).status_code == 204

    def tellings() -> list[GoneFile]:
        return [each for each in gone(control) if each.file_id == file.file_id]

    control.wait_for(tellings)
    control.wait_for_heartbeats()
    before = len(tellings())
    # A catalogue from before the deletion.
    control.believed = {file.file_id: file.path}
    control.wait_for(lambda: len(tellings()) > before, "it is told again")
    for each in tellings():
        assert (each.why, each.order) == ("deleted", bearer(asked["Authorization"]))
        assert each.deleted_at is not None


def test_a_damaged_file_is_told_to_be_damaged_again(node: Worker, control: ControlDouble) -> None:
    control.believed = None
    file = stored(node.agent, "a.bin", b"a" * 1000)
    flip_a_bit(data_of(node.agent, file))
    ask(node.agent, "GET", f"/{file.file_id}/verify", access(node.agent))
    node.start()
    damaged = GoneFile(file_id=file.file_id, why="damaged")
    control.wait_for(lambda: damaged in gone(control))
    control.wait_for_heartbeats()
    before = gone(control).count(damaged)
    control.believed = {file.file_id: file.path}
    control.wait_for(lambda: gone(control).count(damaged) > before, "it is told again")


def test_data_that_only_the_index_lacks_is_not_told_to_be_missing(
    node: Worker, control: ControlDouble
) -> None:
    path = PurePosixPath("isos/there.bin")
    (node.agent.root / "uploads" / path).parent.mkdir(parents=True, exist_ok=True)
    (node.agent.root / "uploads" / path).write_bytes(b"there")
    control.believed = {NOWHERE: path}
    node.start()
    control.wait_for(lambda: len(control.pages) >= 2, "it was asked about")
    control.wait_for_heartbeats(3)
    assert gone(control) == []


def test_a_file_that_does_not_fit_its_attributes_is_not_told_of_and_the_others_are(
    node: Worker, control: ControlDouble
) -> None:
    short, gone_file, good = (stored(node.agent, f"{n}.bin", b"a" * 1000) for n in range(3))
    for each in (short, gone_file, good):
        # Read just now: it isn't the scrubber who finds out.
        ask(node.agent, "GET", f"/{each.file_id}/verify", access(node.agent))
    data_of(node.agent, short).write_bytes(b"a" * 999)
    data_of(node.agent, gone_file).unlink()
    node.start()
    control.wait_for(lambda: bool(told(control)), "what is good is told")
    control.wait_for_heartbeats(3)
    assert {each.file_id for each in told(control)} == {good.file_id}
    assert "file doesn't fit its attributes" in node.log.read_text()


def test_a_deletion_that_was_forgotten_is_told_again_with_what_proves_it(
    node: Worker, control: ControlDouble
) -> None:
    """Another node may have told of a file that was deleted here for good."""
    deleted, other = (stored(node.agent, f"{name}.bin", b"data") for name in "ab")
    for each in (deleted, other):
        assert ask(node.agent, "DELETE", f"/{each.file_id}", access(node.agent)).status_code == 204
    node.start()
    control.wait_for_heartbeats(2)
    control.alive = {deleted.file_id, NOWHERE}
    control.learned_at = datetime.now(UTC) - timedelta(seconds=SETTLED)
    control.wait_for(lambda: control.buried, "the deletion is told")
    (told,) = control.buried
    assert [each.file_id for each in told.files] == [deleted.file_id]
    assert (told.files[0].path, told.files[0].sha256) == (deleted.path, deleted.sha256)
    assert control.alive == {NOWHERE}
