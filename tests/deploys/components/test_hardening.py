"""What a node's Debian is made to keep to, level by level, and back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploys import layout
from deploys.components.machine import hardening
from deploys.hosts.system import System, SystemFacts
from deploys.operations.rendering import render
from portside.cluster.hardening import Hardening
from portside.quantities import GIB, MIB
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.this_computer import Programs

LEVELS: tuple[Hardening, ...] = ("standard", "strict")


def _everything(level: Hardening) -> SystemFacts:
    text = render("hardening/sysctl.conf.j2", strict=level == "strict")
    keys = frozenset(key for key, _ in hardening.assignments(text))
    return SystemFacts(settable=keys, theirs=frozenset(), log_disk=20 * GIB)


def _files(level: Hardening, found: SystemFacts) -> dict[str, str]:
    settings, _ = hardening.kernel_settings(level, found, container=False)
    return {each.path: each.content for each in hardening.wanted(level, found, settings)}


def _keys(text: str) -> set[str]:
    return {key for key, _ in hardening.assignments(text)}


def _settings(level: Hardening) -> dict[str, str]:
    text = _files(level, _everything(level))[hardening.SYSCTL_FILE]
    return dict(hardening.assignments(text))


# -- the levels ------------------------------------------------------------------------------------


def test_every_file_of_a_level_is_known_to_the_one_that_takes_it_away() -> None:
    assert set(_files("standard", _everything("standard"))) == set(hardening.STANDARD)
    strict = set(_files("strict", _everything("strict")))
    assert strict == {*hardening.STANDARD, *hardening.STRICT}


def test_strict_only_adds_to_what_the_kernel_keeps_to() -> None:
    standard, strict = (
        _keys(_files(each, _everything(each))[hardening.SYSCTL_FILE]) for each in LEVELS
    )
    assert standard < strict


@pytest.mark.parametrize("level", LEVELS)
def test_nobodys_routes_are_cut(level: Hardening) -> None:
    """Containers and tunnels forward, some nodes have two lines, IPv6 comes by advertisement."""
    settings = _settings(level)
    assert settings["net.ipv4.conf.all.rp_filter"] == "2"
    assert not any("forward" in key or "accept_ra" in key for key in settings)


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("level", [*LEVELS, "off"])
def test_a_pristine_node_is_brought_to_each_level(secrets: Path, level: Hardening) -> None:
    cluster = secrets.parent.parent / "cluster.yaml"
    cluster.write_text(f"{CLUSTER}hardening: {level}\n")
    commands = fake_host.deploy("storage_node.py", PRISTINE, "s01", ["storage"])
    written = {
        path
        for path in (*hardening.STANDARD, *hardening.STRICT)
        if any("mv -fT" in command and path in command for command in commands)
    }
    assert (
        written
        == {
            "off": set(),
            "standard": set(hardening.STANDARD),
            "strict": {*hardening.STANDARD, *hardening.STRICT},
        }[level]
    )
    installed = any("apt-get install" in each and "unattended" in each for each in commands)
    assert installed is (level != "off")


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("level", "gone"), [("standard", hardening.STRICT), ("off", hardening.STANDARD)]
)
def test_what_a_level_does_not_have_is_taken_away(
    secrets: Path, level: str, gone: tuple[str, ...]
) -> None:
    cluster = secrets.parent.parent / "cluster.yaml"
    cluster.write_text(f"{CLUSTER}hardening: {level}\n")
    there = {f"for p in {gone[0]}": [f"file 644 root root 0 {gone[0]}"]}
    there |= {f" {each} ": [f"file 644 root root 0 {each}"] for each in gone}
    commands = fake_host.deploy("storage_node.py", PRISTINE | there, "s01", ["storage"])
    removed = commands[position(commands, "rm -f", gone[0])]
    assert all(each in removed for each in gone)


# -- what a node can, and what its operator has said -----------------------------------------------


def test_what_a_node_cannot_set_is_left_out_with_a_word_of_it() -> None:
    found = SystemFacts(frozenset({"kernel.dmesg_restrict"}), frozenset(), GIB)
    text, left_out = hardening.kernel_settings("standard", found, container=False)
    assert hardening.assignments(text) == [("kernel.dmesg_restrict", "1")]
    assert "net.ipv4.tcp_syncookies" in left_out
    assert "# Not this node's to set: net.ipv4.tcp_syncookies\n" in text


def test_a_container_sets_nothing_that_is_the_machines_underneath() -> None:
    text, left_out = hardening.kernel_settings("strict", _everything("strict"), container=True)
    assert _keys(text)
    assert all(key.startswith("net.") for key in _keys(text))
    assert "kernel.core_pattern" in left_out


@pytest.mark.parametrize(
    ("theirs", "left"),
    [
        ("kernel.yama.ptrace_scope", "kernel.yama.ptrace_scope"),
        # One interface's: the pattern would have a say in it.
        ("net.ipv4.conf.wg0.accept_redirects", "net.ipv4.conf.*.accept_redirects"),
    ],
)
def test_what_an_operator_has_said_of_the_kernel_stays(theirs: str, left: str) -> None:
    every = _everything("strict")
    found = SystemFacts(every.settable, frozenset({theirs}), GIB)
    text, left_out = hardening.kernel_settings("strict", found, container=False)
    assert every.settable - _keys(text) == {left}
    assert left_out == []


def test_a_node_is_read_in_one_round_trip(tmp_path: Path) -> None:
    """On this computer: its own kernel, none of the units."""
    marker = tmp_path / "marker"
    keys = ["kernel.dmesg_restrict", "net.ipv4.conf.*.accept_redirects", "kernel.not_there"]
    fact = System()
    command = fact.command(keys, ("apt-daily.timer",), str(marker))
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=True)
    found = fact.process(done.stdout.splitlines())
    assert done.stderr == ""
    # Root may set its own; a container's kernel is another's.
    assert found.settable <= set(keys[:2])
    logs = os.statvfs("/var/log")
    assert found.log_disk == logs.f_blocks * logs.f_frsize
    assert not found.nginx_before_sandbox


@pytest.mark.parametrize(
    ("disk", "journal"),
    [(0, 64 * MIB), (10 * GIB, 512 * MIB), (1000 * GIB, GIB)],
)
def test_the_journal_has_its_share_of_the_disk(disk: int, journal: int) -> None:
    found = SystemFacts(frozenset(), frozenset(), disk)
    text = _files("standard", found)[hardening.JOURNALD]
    assert f"SystemMaxUse={journal // MIB}M\n" in text


# -- that those who read it take it ----------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_apt_upgrades_for_security_alone_and_never_reboots(
    tmp_path: Path, level: Hardening
) -> None:
    path = tmp_path / "apt.conf"
    before = 'Unattended-Upgrade::Origins-Pattern {"origin=Debian,label=Debian";};\n'
    path.write_text(before + _files(level, _everything(level))[hardening.UPGRADES])
    dump = subprocess.run(
        ["apt-config", "dump"],
        env={**os.environ, "APT_CONFIG": str(path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    origins = [line for line in dump.splitlines() if "Origins-Pattern:: " in line]
    assert origins and all("security" in line for line in origins)
    assert 'Unattended-Upgrade::Automatic-Reboot "false";' in dump
    assert ('APT::Install-Recommends "false";' in dump) is (level == "strict")


def test_needrestart_leaves_alone_what_may_have_an_upload() -> None:
    services = ["nginx.service", layout.AGENT_SERVICE, layout.CONTROL_WORKER_SERVICE]
    program = (
        "our %nrconf; "
        + render("hardening/needrestart.conf.j2").removesuffix("1;\n")
        + "my @left = keys %{$nrconf{override_rc}};"
        + "print join ' ', grep { my $s = $_; grep { $s =~ $_ } @left } @ARGV"
    )
    done = subprocess.run(
        ["perl", "-e", program, *services, "ssh.service"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == " ".join(services)


# -- what is said ----------------------------------------------------------------------------------


def test_an_operator_hears_what_waits_and_what_to_do() -> None:
    assert hardening.notices(SystemFacts(frozenset(), frozenset(), 0)) == []
    found = SystemFacts(
        frozenset(),
        frozenset(),
        0,
        replaced=("nginx.service", "portside-agent.service"),
        masked=("apt-daily.timer",),
        reboot=True,
        nginx_before_sandbox=True,
    )
    upgrades, sandbox, replaced, kernel = hardening.notices(found)
    assert "systemctl unmask apt-daily.timer" in upgrades
    assert "systemctl restart nginx" in sandbox
    # nginx has taken it up by the end of the run that says so.
    assert "replaced: portside-agent.service. Restart" in replaced
    assert "reboot" in kernel


def test_an_nginx_that_would_not_start_is_not_called_up_to_date(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    programs.make("nginx", "exit 1")
    programs.make("invoke-rc.d", f"touch {tmp_path}/upgraded")
    # As `converged` runs it: what comes after it is the stamp.
    done = programs.run(f"set -e; {hardening.RUN_THE_INSTALLED}\ntouch {tmp_path}/stamp")
    assert done.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]
