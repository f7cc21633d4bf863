"""How uploads ended is told as alerts look at it: whose fault it was, and whether it was an end."""

from __future__ import annotations

from agent.heartbeat.payload import upload_counts
from portside.wire.status import DiskStatus, MemoryStatus, SlotStatus, UploadStatus


def test_steps_of_a_client_that_goes_on_are_no_failures_and_clients_faults_break_nothing() -> None:
    said = UploadStatus(
        node_id="s01",
        accepting=True,
        slots=SlotStatus(used=0, limit=8),
        version="0.1.0",
        reasons=(),
        memory=MemoryStatus(reserved=0, limit=1, available=1, total=1, agent_rss=1),
        disk=DiskStatus(free=1, total=1, reserved=0, kept_free=0),
        committed=100,
        failures={"offset-mismatch": 50, "body-cut": 7, "storage-failed": 2, "no-space": 1},
    )
    counts = upload_counts(said)
    assert (counts.committed, counts.failed, counts.broken) == (100, 10, 3)
