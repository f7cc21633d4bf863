"""What other programs print, and what the lab makes of it."""

from lab import containers, network, packages
from lab.commands import explain
from lab.containers import Container


def test_a_running_container() -> None:
    text = "Name:           portside-s01\nState:          RUNNING\nIP:             10.0.3.7\n"
    assert containers.parse_info(text) == Container("running", "10.0.3.7")


def test_a_container_without_an_address_is_not_up() -> None:
    look = containers.parse_info("State:          RUNNING\nIP:             fe80::1\n")
    assert look == Container("running", "")
    assert not look.is_up


def test_a_stopped_container() -> None:
    assert containers.parse_info("State:          STOPPED\n") == Container("stopped", "")


def test_the_last_setting_wins_as_in_a_shell() -> None:
    text = 'LXC_ADDR="10.0.3.1"\n#LXC_ADDR="10.0.9.1"\nLXC_ADDR=10.0.4.1\n'
    assert network.read_setting(text, "LXC_ADDR", "10.0.3.1") == "10.0.4.1"
    assert network.read_setting(text, "LXC_BRIDGE", "lxcbr0") == "lxcbr0"


def test_removed_packages_count_as_missing() -> None:
    listing = "\n".join(f"{name} install ok installed" for name in packages.NEEDED)
    assert packages.missing_packages(listing) == []
    listing = listing.replace("lxc install ok installed", "lxc deinstall ok config-files", 1)
    assert packages.missing_packages(listing) == ["lxc"]


def test_a_failure_shows_the_command_and_its_last_words() -> None:
    text = explain(("mmdebstrap", "trixie"), 25, "E: no such mirror\n\n")
    assert "mmdebstrap trixie" in text
    assert "code 25" in text
    assert "E: no such mirror" in text
    assert "printed nothing" in explain(("true",), 1, "")
