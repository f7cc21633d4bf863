"""One file tells every tool how to reach a machine, by its short name and by its full one."""

from lab import ssh_config
from lab.machines import Machine

S01 = Machine("lab", "s01", "portside.test", "bookworm", None)
S02 = Machine("lab", "s02", "portside.test", "trixie", None)


def test_a_machine_has_both_its_names() -> None:
    assert ssh_config.entry(S01, "10.0.3.7").splitlines()[0] == "Host s01 s01.portside.test"


def test_each_lab_has_a_file_of_its_own() -> None:
    assert ssh_config.path_of("lab").name == "ssh-config"
    assert ssh_config.path_of("odd").name == "odd.ssh-config"
