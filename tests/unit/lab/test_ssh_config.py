"""One file tells every tool how to reach a machine, by its short name and by its full one."""

from lab import vagrant
from lab.machines import Machine

CLUSTER = [
    Machine("s01", "portside.test", "bookworm", None),
    Machine("s02", "portside.test", "trixie", None),
]
DUMP = """\
Host s01
  HostName 10.0.3.7
  User vagrant
  Port 22

Host s02
  HostName 10.0.3.8
  User vagrant
  Port 22
"""


def test_full_names_are_added() -> None:
    lines = vagrant.with_full_names(DUMP, CLUSTER).splitlines()
    assert [line for line in lines if line.startswith("Host ")] == [
        "Host s01 s01.portside.test",
        "Host s02 s02.portside.test",
    ]


def test_addresses_are_read_back() -> None:
    expected = {"s01": "10.0.3.7", "s02": "10.0.3.8"}
    assert vagrant.addresses_in(vagrant.with_full_names(DUMP, CLUSTER)) == expected
    assert vagrant.addresses_in("") == {}
