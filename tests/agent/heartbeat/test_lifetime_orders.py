"""Ends that the control plane orders: whatever the node missed, it has them once it is back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from agent.heartbeat.lifetimes import LifetimeOrders
from agent.host.filesystem import Filesystem
from agent.integrity.recovery import recover
from agent.storage import ending, holds
from agent.storage import quarantine as quarantines
from agent.storage.quarantine import Kept, ended, quarantine
from agent.storage.staging import DiskFull
from portside.wire.files import StoredFile
from portside.wire.heartbeat import LifetimeKept, LifetimeOrder
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent

PAST = 1
LATER = 4_000_000_000


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(Agent(tmp_path))


def orders_of(node: Node) -> LifetimeOrders:
    """As a worker has them that was just started."""
    return LifetimeOrders(
        lambda file_id, ends: ending.change(node.settings, node.database, file_id, ends)
    )


def order(file: StoredFile, version: int, expires_at: int | None) -> LifetimeOrder:
    return LifetimeOrder(file_id=file.file_id, version=version, expires_at=expires_at)


def kept(file: StoredFile, version: int) -> LifetimeKept:
    return LifetimeKept(file_id=file.file_id, version=version)


def end_due(node: Node) -> None:
    """What the worker does every five seconds."""
    ending.end_due(node.settings, node.database, int(time.time()), 10)


def state(node: Node, file: StoredFile) -> str:
    row = node.database.row("SELECT state FROM files WHERE file_id = ?", (file.file_id,))
    return "" if row is None else str(row[0])


def end_of(node: Node, file: StoredFile) -> int | None:
    """By the row; the attributes say the same."""
    row = node.database.row("SELECT stored FROM files WHERE file_id = ?", (file.file_id,))
    assert row is not None
    stored = StoredFile.model_validate_json(row[0])
    places = (
        node.beside(file),
        ended(node.settings, file.file_id).attributes,
        Kept.of(node.settings, file.file_id).attributes,
    )
    (place,) = (each for each in places if each.exists())
    assert StoredFile.model_validate_json(place.read_bytes()).expires_at == stored.expires_at
    return stored.expires_at


def go(node: Node, file: StoredFile, state: str) -> None:
    """Bring a file into a state, as it was when the node went away."""
    if state == "ENDED":
        ending.change(node.settings, node.database, file.file_id, PAST)
        end_due(node)
    elif state == "QUARANTINED":
        quarantine(node.settings, node.database, file.file_id, "a test")


@pytest.mark.parametrize(
    ("before", "expires_at", "after"),
    [
        ("COMMITTED", LATER, "COMMITTED"),
        ("COMMITTED", PAST, "ENDED"),
        ("ENDED", LATER, "COMMITTED"),
        ("ENDED", None, "COMMITTED"),
        ("ENDED", PAST + 1, "ENDED"),
        ("QUARANTINED", LATER, "QUARANTINED"),
        ("QUARANTINED", PAST, "QUARANTINED"),
    ],
)
@pytest.mark.parametrize("held", [False, True])
def test_what_was_ordered_while_a_node_was_away_is_so_once_it_is_back(
    node: Node, before: str, expires_at: int | None, after: str, held: bool
) -> None:
    file = node.commit("a.bin", b"1", hold=held)
    go(node, file, before)
    orders = orders_of(node)
    # It comes until it is heard that it is kept; again it changes nothing.
    for _ in range(2):
        orders.take((), [order(file, 3, expires_at)])
        end_due(node)
        assert (state(node, file), end_of(node, file)) == (after, expires_at)
        assert orders.to_tell() == (kept(file, 3),)
    orders.take(orders.to_tell(), ())
    assert orders.to_tell() == ()
    assert node.data(file).exists() is (after == "COMMITTED")
    if after == "COMMITTED":
        assert node.data(file).stat().st_mode & 0o777 == (0o600 if held else 0o644)


def test_only_the_newest_word_is_told_as_kept(node: Node) -> None:
    file = node.commit("a.bin", b"1")
    orders = orders_of(node)
    orders.take((), [order(file, 1, PAST)])
    told = orders.to_tell()
    # While that was on its way the file was given more time.
    orders.take(told, [order(file, 2, LATER)])
    assert orders.to_tell() == (kept(file, 2),)
    # What an answer to an older heartbeat confirms is not this one.
    orders.take(told, ())
    assert orders.to_tell() == (kept(file, 2),)
    assert (state(node, file), end_of(node, file)) == ("COMMITTED", LATER)


@pytest.mark.parametrize("before", ["COMMITTED", "ENDED"])
@pytest.mark.parametrize(
    ("where", "name"),
    [
        (ending, "put_back"),
        (ending, "write_attributes"),
        (quarantines, "write_attributes"),
        (Filesystem, "rename_without_replacing"),
        (Filesystem, "sync_directory"),
    ],
)
def test_an_order_that_a_crash_cuts_is_carried_out_when_it_comes_again(
    node: Node, monkeypatch: pytest.MonkeyPatch, before: str, where: object, name: str
) -> None:
    file = node.commit("a.bin", b"1")
    go(node, file, before)

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(where, name, cut)
        try:
            orders_of(node).take((), [order(file, 2, LATER)])
        except KeyboardInterrupt:
            recovers = True
        else:
            # Nothing of this step is in its way.
            recovers = False
    if recovers:
        recover(node.settings, node.database, node.index, node.committer)
    orders = orders_of(node)
    assert orders.to_tell() == ()
    orders.take((), [order(file, 2, LATER)])
    assert orders.to_tell() == (kept(file, 2),)
    assert (state(node, file), end_of(node, file)) == ("COMMITTED", LATER)
    assert node.data(file).read_bytes() == b"1"
    assert list(node.settings.staging.iterdir()) == []


def test_what_a_disk_does_not_take_is_not_kept_and_comes_again(node: Node) -> None:
    file = node.commit("a.bin", b"1")
    taken: list[str] = []

    def full(file_id: str, expires_at: int | None) -> StoredFile | None:
        if not taken:
            taken.append(file_id)
            raise DiskFull("so says the test")
        return ending.change(node.settings, node.database, file_id, expires_at)

    orders = LifetimeOrders(full)
    orders.take((), [order(file, 1, PAST)])
    assert orders.to_tell() == ()
    orders.take((), [order(file, 1, PAST)])
    assert orders.to_tell() == (kept(file, 1),)


def test_who_cant_come_back_and_who_is_not_here_are_not_ordered_for_ever(node: Node) -> None:
    file = node.commit("a.bin", b"first", layout="named")
    go(node, file, "ENDED")
    second = node.commit("a.bin", b"second", layout="named")
    unknown = file.model_copy(update={"file_id": "0" * 32})
    orders = orders_of(node)
    orders.take((), [order(file, 1, None), order(unknown, 1, None)])
    assert set(orders.to_tell()) == {kept(file, 1), kept(unknown, 1)}
    assert state(node, file) == "ENDED"
    assert node.data(second).read_bytes() == b"second"


def test_an_order_to_bring_back_what_was_held_meanwhile_serves_it_to_nobody(node: Node) -> None:
    file = node.commit("a.bin", b"1")
    go(node, file, "ENDED")
    holds.set_held(node.settings, node.database, file.file_id, held=True, note=None)
    orders_of(node).take((), [order(file, 1, None)])
    assert state(node, file) == "COMMITTED"
    assert node.data(file).stat().st_mode & 0o777 == 0o600
