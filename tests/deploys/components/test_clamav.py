"""ClamAV comes to nodes that scan, where it fits and nobody has named another one."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from agent import settings as agent_settings
from control import settings as control_settings
from deploys import layout
from deploys.components import agent, clamav
from deploys.operations.rendering import render
from portside.cluster.clamd import SOCKET
from portside.cluster.file import ClusterError, parse
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.this_computer import Programs

SCANNED = CLUSTER + "namespaces: {images: {hold: clamav, unscannable: release}, b: {hold: api}}\n"
ELSEWHERE = SCANNED + "clamd: tcp:192.0.2.7:3310\n"


def _deploy(tmp_path: Path, text: str, memory_kib: int = 4030464) -> list[str]:
    (tmp_path / "cluster.yaml").write_text(text)
    memory = [f"memory_kib={memory_kib}", *PRISTINE["MemTotal"][1:]]
    machine = {**PRISTINE, "MemTotal": memory}
    return fake_host.deploy("storage_node.py", machine, "s01", ["storage"])


@pytest.mark.usefixtures("release", "secrets")
def test_a_node_that_scans_gets_its_own_before_its_agent_asks_it(tmp_path: Path) -> None:
    commands = _deploy(tmp_path, SCANNED)
    order = [
        position(commands, "apt-get install", "clamav-daemon"),
        position(commands, "chown -h clamav:clamav", "chmod 00700"),
        position(commands, "mv -fT", "/etc/clamav/clamd.conf"),
        position(commands, "systemctl restart portside-clamd.path"),
        position(commands, "mv -fT", "/etc/portside/agent.toml"),
    ]
    assert order == sorted(order)


@pytest.mark.usefixtures("release", "secrets")
@pytest.mark.parametrize("text", [CLUSTER, ELSEWHERE])
def test_nobody_else_gets_it(tmp_path: Path, text: str) -> None:
    assert not any("clam" in command for command in _deploy(tmp_path, text, 2 * 1024 * 1024))


@pytest.mark.usefixtures("release", "secrets")
def test_a_machine_in_which_it_has_no_room_is_refused_before_any_change(tmp_path: Path) -> None:
    with pytest.raises(PyinfraError, match=r"2\.0 GiB of RAM is too little for ClamAV.*clamd: tcp"):
        _deploy(tmp_path, SCANNED, 2 * 1024 * 1024)


@pytest.mark.usefixtures("release", "secrets")
@pytest.mark.parametrize(
    ("text", "address"), [(SCANNED, f"unix:{SOCKET}"), (ELSEWHERE, "tcp:192.0.2.7:3310")]
)
def test_agent_and_control_plane_read_what_is_scanned_and_by_whom(
    make_node: MakeNode, tmp_path: Path, text: str, address: str
) -> None:
    node = make_node(cluster=parse(text))
    path = tmp_path / "agent.toml"
    path.write_text(agent.agent_settings(node))
    read = agent_settings.load(path)
    assert (read.held, read.scanned) == (("images", "b"), ("images",))
    assert read.unscannable_released == ("images",)
    assert str(read.scanner) == address
    control = render(
        "control/control.toml.j2",
        backups=None,
        layout=layout,
        cluster=node.cluster,
        database_file=None,
        database="sqlite:////x",
        threads=16,
    )
    assert tomllib.loads(control)["scanned"] == ["images"]
    assert "scanned" in control_settings.Settings.model_fields


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("namespaces: {a: {unscannable: release}}\n", "namespaces.a: unscannable"),
        ("namespaces: {a: {hold: api, unscannable: keep}}\n", "namespaces.a: unscannable"),
        ("namespaces: {a: {hold: virustotal}}\n", "namespaces.a.hold"),
        ("clamd: unix:/run/clamav/clamd.ctl\n", "clamd: no namespace"),
        ("namespaces: {a: {hold: clamav}}\nclamd: /run/clamav/clamd.ctl\n", "clamd: "),
    ],
)
def test_what_a_cluster_file_says_wrong_is_told_with_its_key(text: str, key: str) -> None:
    with pytest.raises(ClusterError) as refused:
        parse(CLUSTER + text)
    (problem,) = refused.value.problems
    assert problem.startswith(key)


def test_clamd_knows_every_word_of_its_settings(tmp_path: Path) -> None:
    """One that it doesn't know ends it before it looks for its signatures, of which it has none."""
    (tmp_path / "signatures").mkdir()
    text = clamav.settings().replace("/var/lib/clamav\n", f"{tmp_path / 'signatures'}\n")
    text = text.replace(SOCKET, str(tmp_path / "socket")).replace("User clamav\n", "")
    path = tmp_path / "clamd.conf"

    def complaint(settings: str) -> str:
        path.write_text(settings)
        done = subprocess.run(
            ["/usr/sbin/clamd", "--foreground", f"--config-file={path}"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        return done.stdout + done.stderr

    assert "Unknown option" in complaint(text + "AlertExceedMax yes\n")
    assert "Unknown option" not in complaint(text)


def test_its_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    path = tmp_path / "portside-clamd.path"
    path.write_text(render("clamav/portside-clamd.path.j2"))
    (tmp_path / "clamav-daemon.service").write_text("[Service]\nExecStart=/bin/true\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_clamd_is_as_good_as_alone_with_what_it_looks_at(tmp_path: Path) -> None:
    unit = tmp_path / "clamav-daemon.service"
    own = "[Service]\nExecStart=/usr/sbin/clamd --foreground=true\n"
    unit.write_text(own + clamav.override())
    for judge in (("verify", "--man=no"), ("security", "--offline=true", "--threshold=5")):
        done = subprocess.run(
            ["systemd-analyze", *judge, str(unit)], capture_output=True, text=True, check=False
        )
        assert (done.returncode, unit.name in done.stderr) == (0, False), done.stdout + done.stderr
    # Debian's unit starts as root to make what clamav-daemon.socket has made: it can't here.
    assert "\nUser=clamav\nGroup=clamav\n" in clamav.override()
    assert "\nExecStartPre=\n" in clamav.override()


@pytest.mark.parametrize("stopped", ["portside-clamd.path", "clamav-freshclam.service"])
def test_one_of_its_units_is_not_both(tmp_path: Path, stopped: str) -> None:
    programs = Programs(tmp_path)
    # As systemctl(1): active if any is.
    programs.make(
        "systemctl",
        f"shift 2; for unit; do [ $unit = {stopped} ] || exit 0; done; exit 3",
    )
    assert programs.run(clamav.RUNS).returncode != 0
    assert programs.run(clamav.RUNS.replace(stopped, "other.service")).returncode == 0
