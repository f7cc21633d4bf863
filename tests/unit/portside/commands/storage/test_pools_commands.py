"""`portside pools`: what it asks the control plane, and what it makes of it."""

from __future__ import annotations

import json

import pytest

from portside.wire.control import PoolView
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble

POOL = PoolView(
    pool_id="fast",
    node_id="s02",
    public_base_url="https://s02.example.net",
    upload_api_url="https://s02.example.net/api/internal/upload",
    region="hel",
    weight=2,
    tier="hot",
    priority=5,
    capacity=4 << 30,
    is_upload_target=True,
    occupied=1 << 30,
    health="healthy",
)
CLOSED = POOL.model_copy(
    update={"pool_id": "s01", "node_id": "s01", "weight": 0, "region": None, "capacity": None}
)


@pytest.fixture
def control(logged_in: ControlDouble) -> ControlDouble:
    logged_in.pools = [POOL, CLOSED]
    return logged_in


def test_pools_are_listed_and_shown(control: ControlDouble) -> None:
    for words in (("pools",), ("pools", "list")):
        first, fast, closed = Run(*words).out.splitlines()
        assert first.split() == [
            *("pool", "node", "health", "uploads", "tier", "priority", "region", "weight", "used")
        ]
        assert fast.split() == [
            *("fast", "s02", "healthy", "yes", "hot", "5", "hel", "2"),
            *("1.0", "GiB", "of", "4.0", "GiB"),
        ]
        assert closed.split()[3:8] == ["no", "hot", "5", "-", "0"]
    assert [each["pool_id"] for each in json.loads(Run("pools", "--json").out)["pools"]] == [
        "fast",
        "s01",
    ]
    shown = Run("pools", "show", "fast").out
    assert shown.startswith("fast: on s02, healthy\ntakes uploads; tier hot, priority 5")
    assert json.loads(Run("pools", "show", "fast", "--json").out) == POOL.model_dump(mode="json")
    assert Run("pools", "show", "none").code == 3


def test_what_is_set_is_sent_and_nothing_else(control: ControlDouble) -> None:
    run = Run("pools", "set", "fast", "--weight", "0", "--as-the-node", "region", "--json")
    assert run.code == 0, run.err
    method, path, _, body = control.requests[-1]
    assert (method, path) == ("PATCH", "/api/v1/pools/fast")
    assert json.loads(body) == {"weight": 0, "region": None}
    made = Run("pools", "create", "fast", "s02", "--capacity", "4GiB", "--no-upload-target")
    assert made.code == 0, made.err
    wish = {"pool_id": "fast", "node_id": "s02", "capacity": 4 << 30, "is_upload_target": False}
    given = json.loads(control.requests[-1][3])
    assert wish.items() <= given.items()
    assert given.keys() <= {*wish, "priority"}


def test_a_pool_is_deleted(control: ControlDouble) -> None:
    run = Run("pools", "delete", "fast")
    assert (run.code, run.out) == (0, "fast: deleted\n")
    assert control.requests[-1][:2] == ("DELETE", "/api/v1/pools/fast")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("set", "fast"), "say what to set"),
        (("set", "fast", "--region", "hel", "--as-the-node", "region"), "region is set as well"),
        (("set", "fast", "--as-the-node", "priority"), "priority"),
        (("create", "Fast!", "s02"), "pool_id"),
    ],
)
def test_wishes_that_make_no_sense_are_refused_before_anything_is_asked(
    control: ControlDouble, words: tuple[str, ...], says: str
) -> None:
    run = Run("pools", *words)
    assert run.code == 2
    assert says in run.err
    assert control.requests == []
