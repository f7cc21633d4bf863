"""The look at a host, by a real shell on this computer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from deploys.hosts.mounts import mount_unit
from deploys.hosts.survey import Listener, Survey, Surveyed
from tests.support.deploys.this_computer import Programs, ThisComputer


def _look(root: Path | None = None, ports: tuple[int, ...] = ()) -> Surveyed:
    found: Surveyed = ThisComputer().get_fact(
        Survey,
        host_name="localhost",
        root=None if root is None else str(root),
        device=None,
        ports=ports,
    )
    return found


def test_a_place_for_data_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    found = _look(tmp_path / "not" / "yet")
    assert found.lacks == ()
    assert found.filesystem
    assert (found.marker, found.holds, found.real_root) == (None, (), f"{tmp_path}/not/yet")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_nothing_can_be_written_is_told() -> None:
    assert "writing" in _look(Path("/proc/portside")).lacks


def test_data_of_a_node_is_known_by_its_marker_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / ".portside-root").write_text("s01\n")
    (tmp_path / "photos").mkdir()
    found = _look(tmp_path)
    assert (found.marker, found.holds, found.filesystem) == ("s01", (), None)


def test_what_is_not_portsides_in_the_root_is_named(tmp_path: Path) -> None:
    for name in ("uploads", "staging", "lost+found", "my photos"):
        (tmp_path / name).mkdir()
    assert _look(tmp_path).holds == ("my photos",)


def test_a_mount_that_is_to_be_there_and_is_not_is_told(tmp_path: Path) -> None:
    """By fstab, or by what an earlier deploy had watched; a named device is mounted by the run."""
    root = Path("/srv/portside-test-mount/data")
    script = str(Survey().command("localhost", str(root), None, ()))
    for place in ("/etc/fstab", "/usr/local/libexec/portside-disk"):
        (tmp_path / Path(place).name).write_text("")
        script = script.replace(place, str(tmp_path / Path(place).name))

    def unmounted(script: str) -> tuple[str, ...]:
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return Survey().process(done.stdout.splitlines()).unmounted

    assert unmounted(script) == ()
    (tmp_path / "fstab").write_text(f"/dev/vdb\t{root.parent} ext4 nofail 0 2\n#x {root} ext4\n")
    assert unmounted(script) == (str(root.parent),)
    (tmp_path / "portside-disk").write_text(f"#!/bin/sh\nmount={root}\n")
    assert unmounted(script) == (str(root.parent), str(root))
    assert unmounted(script.replace("device=''", "device=/dev/vdb")) == (str(root.parent),)


def test_links_on_the_way_are_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/home")
    assert _look(tmp_path / "link" / "data").real_root == "/home/data"


def test_who_listens_is_named() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as other,
    ):
        ports = (one.getsockname()[1], other.getsockname()[1])
        listeners = _look(ports=ports).listeners
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert [(each.port, each.process) for each in listeners] == [(port, name) for port in ports]
    assert _look(ports=ports).listeners == ()


def test_the_system_is_told() -> None:
    found = _look()
    assert found.system == "debian"
    assert found.python == Path("/usr/bin/python3").resolve().name
    assert found.kernel >= (4, 19)
    assert found.resolves
    assert {place for place, _ in found.free} == {"/opt", "/var"}


def test_what_a_login_shell_prints_is_no_answer() -> None:
    lines = ["Welcome!", "survey kernel 6.1.0-28-amd64", "listens 0050 - apache2"]
    found = Survey().process([*lines, "survey listens 01BB docker-1.scope my proxy"])
    assert found.kernel == (6, 1)
    assert found.listeners == (Listener(443, "my proxy", "docker-1.scope"),)


@pytest.mark.parametrize(
    "path", ["/srv/portside", "/srv/lab-disk", "/", "/.hidden/a_b.c", "/mnt/HC_Volume-1"]
)
def test_mounts_are_called_as_systemd_calls_them(path: str) -> None:
    tool = shutil.which("systemd-escape")
    assert tool is not None
    done = subprocess.run(
        [tool, "--path", "--suffix=mount", path], capture_output=True, text=True, check=True
    )
    assert mount_unit(PurePosixPath(path)) == done.stdout.strip()


def test_a_look_that_is_cut_off_leaves_nothing_that_keeps_out_the_next(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    programs = Programs(tmp_path)
    # The connection ends while the filesystem is tried.
    programs.make("flock", "kill -HUP $PPID")
    done = programs.run(str(Survey().command("localhost", str(root), None, ())))
    assert (done.returncode, list(root.iterdir())) == (1, [])
    # What a power cut leaves goes with the next look.
    (root / ".portside-probe-abc123").mkdir()
    (root / ".portside-probe-abc123" / "file").touch()
    assert _look(root).holds == ()
    assert list(root.iterdir()) == []
