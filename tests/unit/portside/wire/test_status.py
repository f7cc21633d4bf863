"""Status and heartbeats: more is told than was, and older releases understand each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from portside.wire.heartbeat import Heartbeat
from portside.wire.status import UploadStatus, used_percent

HEARTBEAT: dict[str, Any] = {
    "node_id": "s01",
    "sent_at": "2026-03-01T00:00:00Z",
    "version": "1",
    "disk_free": 25,
    "disk_total": 100,
    "disk_reserved": 0,
    "iops": 1.5,
    "memory_available": 1,
    "memory_total": 2,
    "load": 0.5,
    "active_uploads": 0,
    "upload_slots": 8,
    "accepting": True,
    "files": 1,
    "stored_bytes": 75,
    "replication_waiting": 0,
    "replication_oldest": 0,
    "scrub_damaged": 0,
    "scrub_oldest": 3,
    "inventory": "0" * 64,
    "roster_version": 1,
}
STATUS: dict[str, Any] = {
    "node_id": "s01",
    "version": "1",
    "accepting": True,
    "reasons": [],
    "slots": {"used": 2, "limit": 8},
    "memory": {"reserved": 0, "limit": 8, "available": 250, "total": 1000, "agent_rss": 5},
    "disk": {"free": 25, "total": 100, "reserved": 0, "kept_free": 1},
    "committed": 1,
    "failures": {},
}


def test_what_is_told_twice_is_the_same() -> None:
    told = json.loads(UploadStatus.model_validate(STATUS).model_dump_json())
    assert (told["active_uploads"], told["max_concurrent"]) == (2, 8)
    assert told["memory"]["percent"] == 75
    assert (told["disk"]["used"], told["disk"]["percent"]) == (75, 75)
    assert told["recent_failures"] == []


def test_a_heartbeat_tells_the_used_share() -> None:
    assert json.loads(Heartbeat.model_validate(HEARTBEAT).model_dump_json())["used_percent"] == 75


def test_who_knows_less_and_who_knows_more_are_understood() -> None:
    # As an older release sends it, and as a newer one might.
    for extra in ({}, {"used_percent": 75, "of_the_future": {"a": 1}}):
        assert Heartbeat.model_validate({**HEARTBEAT, **extra}).used_percent == 75
    whole = json.loads(UploadStatus.model_validate(STATUS).model_dump_json())
    assert UploadStatus.model_validate({**whole, "of_the_future": 1}) == (
        UploadStatus.model_validate(STATUS)
    )


NUMBERS = [key for key, told in HEARTBEAT.items() if type(told) in (int, float)]
MEASURED = {"iops", "load", "replication_oldest", "scrub_oldest"}


@pytest.mark.parametrize("field", NUMBERS)
def test_no_number_is_out_of_bounds(field: str) -> None:
    beyond = {float("nan"), float("inf")} if field in MEASURED else {2**63, -1}
    for wrong in beyond:
        with pytest.raises(ValidationError):
            Heartbeat.model_validate({**HEARTBEAT, field: wrong})


def test_a_duration_of_a_clock_that_was_set_back_is_none() -> None:
    told = Heartbeat.model_validate({**HEARTBEAT, "scrub_oldest": -5, "replication_oldest": -0.1})
    assert (told.scrub_oldest, told.replication_oldest) == (0, 0)


@pytest.mark.parametrize(
    ("free", "total", "used"),
    [(0, 100, 100), (100, 100, 0), (0, 0, 0), (200, 100, 0), (1, 3, 66.7)],
)
def test_the_used_share(free: int, total: int, used: float) -> None:
    assert used_percent(free, total) == used
