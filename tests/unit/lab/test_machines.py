"""machines.json is read strictly: a slip in it is told before anything is built."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab import machines
from lab.commands import Problem
from lab.machines import Machine


def test_the_lab_as_it_is() -> None:
    lab = machines.load()
    assert lab.name == "lab"
    assert [machine.name for machine in lab.machines] == ["c01", "s01", "s02", "s03", "s04"]
    assert lab.releases == ["bookworm", "trixie"]
    assert [machine.memory_mib for machine in lab.machines] == [None, None, None, 512, None]


def test_names_follow_from_the_name() -> None:
    machine = Machine("lab", "s01", "portside.test", "trixie", None)
    assert machine.host == "s01.portside.test"
    assert machine.container == "portside-s01"
    assert replace(machine, lab="odd").container == "portside-odd-s01"


def test_a_machine_keeps_its_hardware_address_and_no_two_share_one() -> None:
    addresses = [machine.hardware_address for machine in machines.load().machines]
    assert len({*addresses}) == len(addresses)
    assert all(re.fullmatch(r"00:16:3e(:[0-9a-f]{2}){3}", each) for each in addresses)


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("S01", {"release": "trixie", "memory_mib": None}, "lower-case"),
        ("s01", {"release": "sid", "memory_mib": None}, "release is one of"),
        ("s01", {"release": "trixie"}, "exactly the keys"),
        ("s01", {"release": "trixie", "memory_mib": "512"}, "memory_mib"),
        ("s01", {"release": "trixie", "memory_mib": 5}, "memory_mib"),
    ],
)
def test_slips_are_told(name: str, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(Problem, match=message):
        machines.parse({"lab": "lab", "domain": "portside.test", "machines": {name: entry}})


def test_unknown_keys_are_told() -> None:
    with pytest.raises(Problem, match="exactly the keys"):
        machines.parse({"lab": "lab", "domain": "portside.test", "machines": {}, "extra": 1})


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"none\.json can't be read"):
        machines.load(tmp_path / "none.json")
