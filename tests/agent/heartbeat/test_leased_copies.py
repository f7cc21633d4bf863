"""Copies that the control plane orders: leased, pushed to another node, told with its receipt."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from portside.inventory import EMPTY, toggled
from portside.tokens import verify_receipt
from portside.wire.files import HoldNote, StoredFile
from portside.wire.heartbeat import Lease, NodeHold, WorkDone
from portside.wire.keys import Keyset
from tests.support.agent.control_double import ControlDouble
from tests.support.agent.node_pairs import holds, introduce, order_of
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import ask, stored
from tests.support.agent.worker_process import Worker

CONTENT = b"a file that should be on two nodes"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two nodes that know each other; the first has a worker and a file."""

    control: ControlDouble
    source: Worker
    target: Agent
    file: StoredFile

    def lease(self, lease_id: str, **changed: Any) -> Lease:
        """Work for the first node: a copy to the second unless changed."""
        lease = {
            "lease_id": lease_id,
            "kind": "replicate",
            "target": self.target.node_id,
            "file_id": self.file.file_id,
            "path": self.file.path,
            "size": self.file.size,
            "sha256": self.file.sha256,
            "until": datetime.now(UTC) + timedelta(hours=1),
        }
        if changed.get("kind", "replicate") == "replicate":
            lease["order"] = order_of(self.file, self.source.agent, self.target)
        return Lease.model_validate({**lease, **changed})

    def outcome(self, lease_id: str) -> WorkDone:
        """How a lease ended, once that is told."""
        self.control.wait_for(lambda: self.control.told(lease_id), f"the end of {lease_id}")
        done: WorkDone = self.control.told(lease_id)[0]
        return done


@pytest.fixture
def pair(make_agent: Callable[..., Agent], make_worker: Callable[..., Worker]) -> Iterator[Pair]:
    with ControlDouble() as control:
        source = make_worker(heartbeat_every=0.2)
        target = make_agent(node_id="s02")
        control.keys = Keyset(keys=source.agent.node_keys.keys + target.node_keys.keys)
        introduce(source.agent, target, control_url=control.url)
        target.start()
        file = stored(source.agent, "a.bin", CONTENT)
        source.start()
        yield Pair(control, source, target, file)


def test_a_leased_copy_is_pushed_and_told_with_the_targets_receipt(pair: Pair) -> None:
    pair.control.lease(pair.lease("copy"))
    done = pair.outcome("copy")
    assert (done.outcome, done.detail) == ("done", "")
    receipt = verify_receipt(done.receipt or "", pair.target.node_keys)
    assert (receipt.iss, receipt.file_id) == ("s02", pair.file.file_id)
    assert (receipt.sha256, receipt.size) == (pair.file.sha256, len(CONTENT))
    assert holds(pair.target, pair.file, CONTENT)


def test_a_file_that_is_held_as_ordered_is_served_nowhere_and_copied_as_held(pair: Pair) -> None:
    def order(version: int, *, held: bool) -> None:
        note = HoldNote(reason="a complaint", by="ops", at=datetime.now(UTC))
        pair.control.holds = tuple(
            NodeHold(file_id=file_id, version=version, held=held, note=note)
            # The second isn't there: it has nothing to serve, and is confirmed.
            for file_id in (pair.file.file_id, "f" * 32)
        )
        pair.control.wait_for(lambda: not pair.control.holds, "the confirmation")

    order(1, held=True)
    assert (
        slug_of(ask(pair.source.agent, "GET", f"/{pair.file.file_id}/content")) == "being-checked"
    )
    pair.control.lease(pair.lease("copy"))
    receipt = verify_receipt(pair.outcome("copy").receipt or "", pair.target.node_keys)
    assert receipt.held
    assert slug_of(ask(pair.target, "GET", f"/{pair.file.file_id}/content")) == "being-checked"
    order(2, held=False)
    # The agent lets nginx send it.
    assert ask(pair.source.agent, "GET", f"/{pair.file.file_id}/content").status_code == 200
    # That node was told nothing.
    assert slug_of(ask(pair.target, "GET", f"/{pair.file.file_id}/content")) == "being-checked"


def test_a_receipt_waits_for_a_control_plane_that_is_away(pair: Pair) -> None:
    pair.control.lease(pair.lease("copy"))
    pair.control.wait_for(lambda: pair.source.rows("SELECT 1 FROM leases"))
    pair.control.misbehave = _hang_up
    pair.control.wait_for(lambda: holds(pair.target, pair.file, CONTENT))
    pair.source.wait_for(lambda: pair.source.logged("lease ended"))
    pair.source.kill()
    pair.source.start()
    pair.control.misbehave = None
    before = len(pair.control.told("copy"))
    pair.control.wait_for(lambda: len(pair.control.told("copy")) > before)
    assert {done.receipt is not None for done in pair.control.told("copy")} == {True}
    assert len(pair.source.logged("lease ended")) == 1


def _hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def test_a_file_moves_by_a_copy_and_the_removal_of_the_first(pair: Pair) -> None:
    pair.control.lease(pair.lease("copy"))
    assert pair.outcome("copy").outcome == "done"
    pair.control.lease(pair.lease("removal", kind="delete", target=None, tombstone=False))
    assert pair.outcome("removal").outcome == "done"
    assert pair.source.agent.visible_files() == []
    assert ask(pair.source.agent, "GET", f"/{pair.file.file_id}").status_code == 404
    assert holds(pair.target, pair.file, CONTENT)
    pair.control.wait_for(lambda: pair.control.heartbeats[-1].files == 0)
    assert pair.control.heartbeats[-1].inventory == EMPTY


def test_a_copy_to_a_node_that_has_other_content_there_is_told_as_failed(pair: Pair) -> None:
    ours = stored(pair.source.agent, "same.bin", b"ours", layout="named")
    theirs = stored(pair.target, "same.bin", b"theirs", layout="named")
    pair.control.lease(
        pair.lease("copy", file_id=ours.file_id, path=ours.path, size=4, sha256=ours.sha256)
    )
    done = pair.outcome("copy")
    assert (done.outcome, done.receipt) == ("failed", None)
    assert done.detail
    assert holds(pair.target, theirs, b"theirs")
    pair.control.wait_for_heartbeats(2)
    assert pair.control.heartbeats[-1].inventory == toggled(
        EMPTY, [pair.file.file_id, ours.file_id]
    )
