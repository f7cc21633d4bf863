"""A machine's container is configured for the computer's own kind of cgroups."""

import pytest

from lab import containers
from lab.machines import Machine

SMALL = Machine("lab", "s03", "portside.test", "trixie", 512)


@pytest.mark.parametrize(
    ("unified", "memory", "devices"),
    [
        (False, "lxc.cgroup.memory.limit_in_bytes = 512M", "lxc.cgroup.devices.allow"),
        (True, "lxc.cgroup2.memory.max = 512M", "lxc.cgroup2.devices.allow"),
    ],
)
def test_limits_are_said_as_the_kernel_takes_them(unified: bool, memory: str, devices: str) -> None:
    lines = containers.configuration(SMALL, "lxcbr0", unified).splitlines()
    assert memory in lines
    assert f"{devices} = b 7:* rwm" in lines
    other = "lxc.cgroup." if unified else "lxc.cgroup2."
    assert not any(line.startswith(other) for line in lines)


def test_a_machine_without_a_limit_has_all_of_the_computers_memory() -> None:
    large = Machine("lab", "s01", "portside.test", "bookworm", None)
    assert "memory" not in containers.configuration(large, "lxcbr0", unified=True)
