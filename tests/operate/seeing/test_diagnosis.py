"""What the doctor makes of what was found: each thing that is wrong, with what to do about it."""

from __future__ import annotations

from typing import Any

import pytest

from operate.look import Disk, Look, Memory
from operate.seeing.diagnosis import Expected, Surroundings, examine
from portside import sizing
from portside.quantities import GIB
from portside.wire.status import Readiness

DAY = 86400.0
RAM = 2 * GIB
DISK = Disk(
    path="/srv/portside",
    total=100 * GIB,
    free=60 * GIB,
    inodes=1000,
    inodes_free=900,
    read_only=False,
)
FITS = sizing.size(sizing.Machine(RAM, 1, DISK.total)).agent_memory_max
LOOK = Look(
    now=1e9,
    releases={"storage": "0123456789abcdef"},
    units={"nginx": "active", "portside-agent": "active"},
    ready={"storage": Readiness(ready=True, reasons=(), warnings=())},
    certificate_ends=1e9 + 60 * DAY,
    renewal=None,
    disks=(DISK,),
    mounted=True,
    memory=Memory(total=RAM, available=RAM // 2),
    uptime=1000,
    debian="13.2",
    trouble=(),
)
AROUND = Surroundings(
    names={"s02.example.net": ["192.0.2.2"]},
    servers={"s02.example.net:443": None},
    issuers=["key-1"],
    roster=["s01", "s02"],
    memory_max=FITS,
    synchronized=True,
)
EXPECTED = Expected(
    host="s01.example.net",
    addresses=("192.0.2.1",),
    reachable=None,
    issuers=("key-1",),
    storage_nodes=("s01", "s02"),
    stores=True,
)


def wrong(
    look: dict[str, Any], around: dict[str, Any], clock_off: float = 0.0
) -> dict[str, str | None]:
    found = examine(
        "s01",
        LOOK.model_copy(update=look),
        clock_off,
        AROUND.model_copy(update=around),
        EXPECTED,
    )
    return {each.check: each.wrong for each in found if each.wrong}


def test_of_a_node_that_is_well_nothing_is_said() -> None:
    assert wrong({}, {}) == {}


@pytest.mark.parametrize(
    ("look", "around", "check", "said"),
    [
        ({}, {"names": {"s02.example.net": None}}, "names", "can't resolve s02.example.net"),
        ({}, {"servers": {"s02.example.net:443": "no connection: refused"}}, "ports", "refused"),
        ({}, {"synchronized": False}, "clock", "no time service"),
        ({"disks": (DISK.model_copy(update={"free": GIB}),)}, {}, "disk", "1.0 GiB of 100.0 GiB"),
        ({"disks": (DISK.model_copy(update={"read_only": True}),)}, {}, "disk", "read-only"),
        ({"mounted": False}, {}, "disk", "not mounted"),
        ({"disks": (DISK.model_copy(update={"inodes_free": 9}),)}, {}, "inodes", "9 of 1000"),
        ({"certificate_ends": 1e9 + 3 * DAY}, {}, "certificate", "ends in 72h"),
        ({"certificate_ends": 1e9 - DAY}, {}, "certificate", "has ended"),
        ({"certificate_ends": None}, {}, "certificate", "deploy the node"),
        ({}, {"issuers": ["key-0"]}, "keys", "doesn't know the issuer's key key-1"),
        ({}, {"issuers": None}, "keys", "keyset can't be read"),
        ({}, {"roster": ["s01"]}, "keys", "lacks s02"),
        ({}, {"memory_max": FITS * 2}, "memory", "another size of memory"),
        ({"units": {"nginx": "failed"}}, {}, "services", "nginx is failed"),
        (
            {"ready": {"storage": Readiness(ready=False, reasons=("read-only: x",), warnings=())}},
            {},
            "ready",
            "read-only: x",
        ),
    ],
)
def test_what_is_wrong_is_said_and_nothing_else(
    look: dict[str, Any], around: dict[str, Any], check: str, said: str
) -> None:
    found = wrong(look, around)
    assert list(found) == [check]
    assert said in str(found[check])


@pytest.mark.parametrize(("off", "side"), [(9.0, "9s ahead of"), (-9.0, "9s behind")])
def test_a_clock_that_is_off_is_said_to_be_on_its_side(off: float, side: str) -> None:
    assert side in str(wrong({}, {}, off)["clock"])
