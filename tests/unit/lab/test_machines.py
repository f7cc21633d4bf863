"""machines.json is read strictly: a slip in it is told before anything is built."""

from typing import Any

import pytest

from lab import machines
from lab.commands import Problem
from lab.machines import Machine


def test_the_lab_as_it_is() -> None:
    cluster = machines.load()
    assert [machine.name for machine in cluster] == ["c01", "s01", "s02", "s03", "s04"]
    assert machines.releases(cluster) == ["bookworm", "trixie"]
    assert [machine.memory_mib for machine in cluster] == [None, None, None, 512, None]


def test_names_follow_from_the_name() -> None:
    machine = Machine("s01", "portside.test", "trixie", None)
    assert machine.host == "s01.portside.test"
    assert machine.container == "portside-s01"


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
        machines.parse({"domain": "portside.test", "machines": {name: entry}})


def test_unknown_keys_are_told() -> None:
    with pytest.raises(Problem, match="exactly the keys"):
        machines.parse({"domain": "portside.test", "machines": {}, "extra": 1})
