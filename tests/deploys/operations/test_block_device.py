"""A device that holds anything is never formatted: the worst mistake a deploy can make."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from pyinfra.api.exceptions import OperationError
from pyinfra.context import ctx_host

from deploys.operations import block_device
from deploys.operations.block_device import Device, DeviceRefused, DeviceState, Plan, plan
from tests.support.deploys.this_computer import Programs

EMPTY = DeviceState(
    present=True,
    signatures=(),
    filesystem=None,
    uuid=None,
    mounted_uuid=None,
    fstab_options=None,
    root_has_data=False,
)


def _state(**changes: object) -> DeviceState:
    return DeviceState(**{**_fields(EMPTY), **changes})  # type: ignore[arg-type]


def _fields(state: DeviceState) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__dataclass_fields__}


def _plan(state: DeviceState, filesystem: str = "ext4") -> Plan:
    return plan(state, "/dev/vdb", filesystem, "/srv/portside")


def test_an_empty_device_is_formatted_and_mounted() -> None:
    assert _plan(EMPTY) == Plan(format=True, mount=True)


def test_a_device_with_the_right_filesystem_is_mounted_as_it_is() -> None:
    state = _state(signatures=("ext4",), filesystem="ext4", uuid="1-2")
    assert _plan(state) == Plan(format=False, mount=True)


def test_a_mounted_device_is_left_alone() -> None:
    state = _state(
        signatures=("ext4",),
        filesystem="ext4",
        uuid="1-2",
        mounted_uuid="1-2",
        fstab_options="defaults",
    )
    assert _plan(state) == Plan(format=False, mount=False)


@pytest.mark.parametrize("options", [None, "nofail,noatime,x-systemd.device-timeout=30s"])
def test_a_mount_that_would_not_come_back_by_itself_is_written_down(options: str | None) -> None:
    state = _state(
        signatures=("ext4",),
        filesystem="ext4",
        uuid="1-2",
        mounted_uuid="1-2",
        fstab_options=options,
    )
    assert _plan(state) == Plan(format=False, mount=True)


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(_state(signatures=("xfs",), filesystem="xfs", uuid="1"), id="xfs"),
        pytest.param(_state(signatures=("dos",)), id="partition table"),
        pytest.param(_state(signatures=("PMBR", "gpt")), id="gpt"),
        pytest.param(_state(signatures=("LVM2_member",), filesystem="LVM2_member"), id="lvm"),
        pytest.param(_state(signatures=("linux_raid_member",)), id="raid"),
        pytest.param(_state(signatures=("crypto_LUKS",), filesystem="crypto_LUKS"), id="luks"),
        pytest.param(_state(signatures=("swap",), filesystem="swap"), id="swap"),
        pytest.param(
            _state(signatures=("dos", "ext4"), filesystem="ext4", uuid="1"), id="two things at once"
        ),
        pytest.param(_state(signatures=("ext4",), filesystem="ext4"), id="no uuid"),
        pytest.param(_state(present=False), id="no device"),
        pytest.param(_state(root_has_data=True), id="files under the mount point"),
        pytest.param(_state(mounted_uuid="9-9"), id="something else is mounted there"),
        pytest.param(
            _state(signatures=("ext4",), filesystem="ext4", uuid="1", mounted_uuid="2"),
            id="another ext4 is mounted there",
        ),
    ],
)
def test_anything_else_is_refused(state: DeviceState) -> None:
    with pytest.raises(DeviceRefused):
        _plan(state)


class _Host:
    def __init__(self, found: DeviceState) -> None:
        self._found = found

    def get_fact(self, fact: object, **arguments: object) -> DeviceState:
        return self._found


def test_a_refusal_reaches_the_operator_and_nothing_is_run() -> None:
    host = _Host(_state(signatures=("xfs",), filesystem="xfs", uuid="1"))
    with ctx_host.use(host), pytest.raises(OperationError, match=r"holds xfs.*nothing on it was"):
        list(
            block_device.data_filesystem._inner(
                device="/dev/vdb", filesystem="ext4", root="/srv/portside"
            )
        )


def _look(device: Path, tmp_path: Path) -> DeviceState:
    """The fact's own command on an image file, which is no block device but holds the same."""
    command = str(Device().command(str(device), str(tmp_path / "root")))
    output = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    return Device().process(output.stdout.splitlines())


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024)
    return path


def test_an_image_of_zeros_holds_nothing(image: Path, tmp_path: Path) -> None:
    state = _look(image, tmp_path)
    assert (state.signatures, state.filesystem, state.uuid) == ((), None, None)


@pytest.mark.parametrize(("tool", "seen"), [("mkfs.ext4", "ext4"), ("mkswap", "swap")])
def test_what_a_device_holds_is_seen(image: Path, tmp_path: Path, tool: str, seen: str) -> None:
    found = shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin")
    assert found is not None
    subprocess.run([found, "-q", str(image)], check=True, capture_output=True)
    state = _look(image, tmp_path)
    assert state.signatures == (seen,)
    assert state.uuid is not None


def test_a_partition_table_is_seen(image: Path, tmp_path: Path) -> None:
    # One Linux partition of 1000 sectors at sector 2048, and the boot signature.
    entry = bytes([0, 0, 0, 0, 0x83, 0, 0, 0]) + struct.pack("<II", 2048, 1000)
    with image.open("r+b") as file:
        file.seek(446)
        file.write(entry.ljust(64, b"\0") + b"\x55\xaa")
    state = _look(image, tmp_path)
    assert (state.signatures, state.filesystem) == (("dos",), None)


def test_files_under_the_mount_point_are_seen(image: Path, tmp_path: Path) -> None:
    assert not _look(image, tmp_path).root_has_data
    (tmp_path / "root").mkdir()
    assert not _look(image, tmp_path).root_has_data
    (tmp_path / "root" / ".portside-root").touch()
    assert _look(image, tmp_path).root_has_data


def test_what_is_mounted_at_boot_stays_everybodys_to_read(tmp_path: Path) -> None:
    """By whatever umask the login has."""
    fstab = tmp_path / "fstab"
    fstab.write_text("UUID=0-0 / ext4 defaults 0 1\n")
    programs = Programs(tmp_path)
    for name in ("blkid", "systemd-escape"):
        programs.make(name, "echo 1-2")
    for name in ("mountpoint", "findmnt", "systemctl"):
        programs.make(name, "true")
    with ctx_host.use(_Host(_state(signatures=("ext4",), filesystem="ext4", uuid="1-2"))):
        (command,) = block_device.data_filesystem._inner(
            device="/dev/vdb", filesystem="ext4", root="/srv/portside"
        )
    done = programs.run("umask 077; " + command.replace("/etc/fstab", str(fstab)))
    assert done.returncode == 0, done.stderr
    assert "UUID=1-2 /srv/portside ext4" in fstab.read_text()
    assert fstab.stat().st_mode & 0o777 == 0o644
