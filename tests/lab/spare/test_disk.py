"""A data disk of its own, on a real machine: formatted once, never again, missed when it is gone.

One test after the other on the same loop device: each begins where the one before ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from testinfra.host import Host

from tests.support.lab.control_plane import wait_for
from tests.support.lab.deploy import deploy
from tests.support.lab.spare import Spare

ROOT = "/srv/lab-disk"


@dataclass(frozen=True, slots=True)
class Disk:
    """A small device on the node, and a cluster file that gives it to the node."""

    host: Host
    device: str
    cluster: Path


@pytest.fixture(scope="module")
def disk(spare: Spare, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Disk]:
    host = spare.host
    # A run that was cut short may have left it mounted, and then no device is new.
    _remove(host)
    host.check_output("truncate --size 512M /root/lab-disk.img")
    device = host.check_output("losetup --find --show /root/lab-disk.img")
    cluster = tmp_path_factory.mktemp("disk") / "lab.yaml"
    cluster.write_text(
        spare.file.read_text()
        .replace("s04: {}", f"s04: {{device: {device}}}")
        .replace("root: /srv/portside", f"root: {ROOT}")
    )
    yield Disk(host, device, cluster)
    run = deploy(spare.file)
    _remove(host)
    assert run.succeeded, run.output


def _remove(host: Host) -> None:
    """Nothing of the disk any more, as far as there was any of it."""
    host.run(f"umount {ROOT}; chattr -i {ROOT}")
    host.check_output(
        f"sed -i '\\| {ROOT} |d' /etc/fstab && systemctl daemon-reload && "
        "losetup --associated /root/lab-disk.img --noheadings --output NAME | "
        f"xargs --no-run-if-empty losetup --detach && rm -rf /root/lab-disk.img {ROOT}"
    )


def test_a_device_that_holds_anything_is_not_touched(disk: Disk) -> None:
    disk.host.check_output(f"mkswap {disk.device}")
    before = disk.host.check_output(f"sha256sum < {disk.device}")
    run = deploy(disk.cluster)
    assert not run.succeeded
    assert f"{disk.device} holds swap and is neither empty nor ext4: nothing on it" in run.output
    assert disk.host.check_output(f"sha256sum < {disk.device}") == before
    disk.host.check_output(f"wipefs --all --quiet {disk.device}")


def test_an_empty_device_becomes_the_data_filesystem(disk: Disk) -> None:
    run = deploy(disk.cluster)
    assert run.succeeded, run.output
    mount = disk.host.check_output(f"findmnt --noheadings --output FSTYPE,OPTIONS {ROOT}")
    assert mount.startswith("ext4")
    assert "noatime" in mount
    fstab = disk.host.check_output(f"grep ' {ROOT} ' /etc/fstab")
    assert fstab.startswith("UUID=")
    assert "nofail,noatime" in fstab
    # The disk wants to be mounted when it comes after the boot: systemd.mount(5).
    assert "x-systemd.wanted-by=dev-disk-by" in fstab
    for service in ("portside-agent", "portside-agent-worker", "portside-disk"):
        assert disk.host.service(service).is_running
    exposure = "systemd-analyze security --threshold=10 portside-disk.service"
    assert disk.host.run(exposure).rc == 0


def test_the_files_on_it_outlive_the_next_run(disk: Disk) -> None:
    disk.host.check_output(f"touch {ROOT}/uploads/precious")
    run = deploy(disk.cluster)
    assert run.succeeded, run.output
    assert run.hosts("success") == {}
    assert disk.host.file(f"{ROOT}/uploads/precious").exists


def test_a_disk_that_goes_stops_the_agent_and_nothing_is_written_in_its_place(
    disk: Disk, spare: Spare
) -> None:
    disk.host.check_output(f"umount --lazy {ROOT}")
    # One that is about to stop may still answer.
    is_active = "systemctl is-active portside-agent"
    wait_for(
        "the agent has stopped",
        60,
        lambda: disk.host.run(is_active).stdout.strip() in ("inactive", "failed") or None,
    )
    assert disk.host.run(f"touch {ROOT}/x").rc != 0
    # nginx needs nothing of it: it starts, and says what is missing.
    disk.host.check_output("systemctl restart nginx")
    answer = spare.node.ask("GET", "/health/ready")
    assert (answer.status, answer.slug) == (503, "disk-unmounted")
    assert disk.host.check_output(f"ls -A {ROOT}") == ""


def test_a_disk_that_comes_starts_the_agent_whoever_mounts_it(disk: Disk, spare: Spare) -> None:
    disk.host.check_output(f"mount {ROOT}")
    spare.node.wait_until_ready()
    assert disk.host.file(f"{ROOT}/uploads/precious").exists


def test_a_disk_that_is_back_at_once_is_seen_by_the_agent(disk: Disk, spare: Spare) -> None:
    before = _main_process(disk.host)
    disk.host.check_output(f"umount --lazy {ROOT} && mount {ROOT}")
    wait_for("it starts anew", 60, lambda: _main_process(disk.host) not in (before, "0") or None)
    spare.node.wait_until_ready()


def _main_process(host: Host) -> str:
    shown: str = host.check_output("systemctl show --property MainPID --value portside-agent")
    return shown


def test_an_unmounted_device_is_mounted_again_and_not_formatted(disk: Disk) -> None:
    disk.host.check_output(f"systemctl stop portside-agent portside-agent-worker; umount {ROOT}")
    assert not disk.host.file(f"{ROOT}/.portside-root").exists
    run = deploy(disk.cluster)
    assert run.succeeded, run.output
    assert disk.host.file(f"{ROOT}/uploads/precious").exists
    assert disk.host.service("portside-agent").is_running


def test_another_nodes_disk_is_not_taken_over(disk: Disk) -> None:
    marker = f"{ROOT}/.portside-root"
    disk.host.check_output(f"echo s09 > {marker}")
    run = deploy(disk.cluster)
    assert not run.succeeded
    assert f"{ROOT} holds the files of s09: is this the right machine" in run.output
    assert disk.host.file(marker).content_string == "s09\n"
    disk.host.check_output(f"echo s04 > {marker}")
