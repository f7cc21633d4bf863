"""The look at a host, by a real shell on this computer."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import pytest

from deploys.hosts.mounts import mount_unit
from deploys.hosts.outside import Served
from deploys.hosts.survey import Listener, Survey, Surveyed
from tests.support.deploys.this_computer import Programs, ThisComputer, shell


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
    with socket.socket() as one, socket.socket(socket.AF_INET6) as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("::1", 0))
        ports = (one.getsockname()[1], other.getsockname()[1])
        # Nobody else is given them.
        assert _look(ports=ports).listeners == ()
        one.listen()
        other.listen()
        listeners = _look(ports=ports).listeners
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    assert [(each.port, each.process) for each in listeners] == [(port, name) for port in ports]


def test_what_others_reach_is_told() -> None:
    name = Path(f"/proc/{os.getpid()}/comm").read_text().strip()
    with ExitStack() as stack:
        here = stack.enter_context(socket.create_server(("0.0.0.0", 0)))  # noqa: S104
        own = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        asks = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        asks.bind(("0.0.0.0", 0))  # noqa: S104
        told = {(each.port, each.protocol): each.process for each in _look().served}
        ports = [each.getsockname()[1] for each in (here, own, asks)]
    assert told.get((ports[0], "tcp")) == name
    assert (ports[1], "tcp") not in told
    # A client's, which takes from anybody as well.
    assert (ports[2], "udp") not in told


def _served(folder: Path, script: str, tcp: Sequence[str], udp: Sequence[str]) -> set[Served]:
    """What is told of these lines of proc(5)'s /proc/net: local address, state and inode."""
    for name, lines in (("tcp", tcp), ("tcp6", ()), ("udp", udp), ("udp6", ())):
        text = "".join(
            "1: {} 00:0 {} 0:0 00:0 0 0 0 {} 2\n".format(*line.split()) for line in lines
        )
        (folder / name).write_text(f"sl local_address rem_address st\n{text}")
    here = script + str(Survey().command("localhost", None, None, ()))
    done = shell(here.replace("/proc/net/$", f"{folder}/$"))
    return set(Survey().process(done.stdout.splitlines()).served)


def test_a_tunnel_of_the_kernels_is_known_and_what_only_the_host_reaches_is_left_out(
    tmp_path: Path,
) -> None:
    programs = Programs(tmp_path)
    programs.make(
        "wg",
        """case "$*" in
    "show interfaces") echo "wg0 wg1" ;;
    "show wg0 persistent-keepalive") printf 'key=\\toff\\n' ;;
    "show wg1 persistent-keepalive") printf 'key=\\t25\\n' ;;
    "show wg0 listen-port") echo 51820 ;;
    "show wg1 listen-port") echo 45000 ;;
esac""",
    )
    # Inodes that no process has.
    udp = ["00000000:CA6C 07 9999999991", "00000000:AFC8 07 9999999992"]
    udp += ["3500007F:0035 07 9999999993", "0100007F:0143 07 9999999994"]
    udp += [f"{'0' * 24}01000000:0035 07 9999999995"]
    udp += ["0000000000000000FFFF00000100007F:0035 07 9999999996"]
    # Connected: it has asked somebody.
    udp += ["0A00000A:0400 01 9999999997"]
    tcp = ["00000000:0801 0A 9999999998", "0A00000A:0019 01 9999999999"]
    installed = f"PATH={tmp_path}/programs:$PATH\n"
    assert _served(tmp_path, installed, tcp, udp) == {
        Served(51820, "udp", None, tunnel=True),
        Served(2049, "tcp", None),
    }
    # Without keepalives it waits to be called.
    waits = Served(45000, "udp", None, tunnel=True)
    assert waits in _served(tmp_path, "wg() { :; }\n", (), udp)


@pytest.mark.parametrize("kind", ["wireguard", "tun", "ethernet"])
def test_a_login_by_a_tunnel_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "10.8.0.2 50000 10.8.0.1 2200")
    programs = Programs(tmp_path)
    programs.make("ip", '[ "$*" = "-oneline address show to 10.8.0.1" ] && echo "7: x0 inet 10.8"')
    interface = tmp_path / "net" / "x0"
    interface.mkdir(parents=True)
    (interface / "uevent").write_text(f"INTERFACE=x0\nDEVTYPE={kind}\n")
    if kind == "tun":
        (interface / "tun_flags").touch()
    script = str(Survey().command("localhost", None, None, ()))
    done = programs.run(script.replace("/sys/class/net", f"{tmp_path}/net"))
    found = Survey().process(done.stdout.splitlines())
    assert found.login_port == 2200
    assert found.login_tunnel == (None if kind == "ethernet" else "x0")


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
    # What a power cut leaves goes with a later look. Another one may be under way.
    left = root / ".portside-probe-abc123"
    left.mkdir()
    (left / "file").touch()
    assert _look(root).holds == ()
    assert list(root.iterdir()) == [left]
    os.utime(left, (0, 0))
    assert _look(root).holds == ()
    assert list(root.iterdir()) == []
