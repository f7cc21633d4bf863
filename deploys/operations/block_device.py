"""A data device: made into a filesystem only when there is nothing on it, mounted by UUID.

The rule that matters is `plan`: pure, and held by tests for everything a device may hold. What is
there is never overwritten; when in doubt the run fails and says what to do.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from dataclasses import dataclass

from pyinfra.api.exceptions import OperationError
from pyinfra.api.facts import FactBase
from pyinfra.api.operation import operation
from pyinfra.context import host


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What is on a device and at its mount point. `signatures`: everything wipefs and blkid see."""

    present: bool
    signatures: tuple[str, ...]
    filesystem: str | None
    uuid: str | None
    mounted_uuid: str | None
    fstab_options: str | None
    root_has_data: bool


_OPTIONS_ONCE = "nofail,noatime,x-systemd.device-timeout=30s"
"""With these alone, which were written once, a disk that came after the boot stayed unmounted."""


class Device(FactBase[DeviceState]):
    """Looks at the device itself, not at what udev remembers of it."""

    def command(self, device: str, root: str) -> str:
        dev, path = shlex.quote(device), shlex.quote(root)
        return (
            f"[ -b {dev} ] && echo present; "
            f"wipefs --no-act --noheadings --output TYPE {dev} 2>/dev/null | "
            "sed 's/^/signature /'; "
            f"blkid --probe --output export {dev} 2>/dev/null | sed 's/^/blkid /'; "
            f"echo mounted $(findmnt --noheadings --output UUID --mountpoint {path}); "
            f"awk '{_of_root(root)} {{ print \"fstab\", $4 }}' /etc/fstab 2>/dev/null; "
            f"findmnt --mountpoint {path} >/dev/null || {{ ls -A {path} 2>/dev/null | grep -q . "
            "&& echo data; }; true"
        )

    def process(self, output: list[str]) -> DeviceState:
        words = [line.strip().partition(" ")[::2] for line in output]
        probed = dict(value.partition("=")[::2] for key, value in words if key == "blkid")
        signatures = [value for key, value in words if key == "signature"]
        # blkid knows partition tables by PTTYPE and filesystems by TYPE.
        signatures += [probed[name] for name in ("TYPE", "PTTYPE") if name in probed]
        mounted = next((value for key, value in words if key == "mounted"), "")
        options = next((value for key, value in words if key == "fstab"), None)
        keys = {key for key, _ in words}
        return DeviceState(
            present="present" in keys,
            signatures=tuple(sorted(set(signatures))),
            filesystem=probed.get("TYPE"),
            uuid=probed.get("UUID"),
            mounted_uuid=mounted or None,
            fstab_options=options,
            root_has_data="data" in keys,
        )


class DeviceRefused(Exception):
    """A device that must not be touched; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done: `format` only a device with nothing on it."""

    format: bool
    mount: bool


def plan(state: DeviceState, device: str, filesystem: str, root: str) -> Plan:
    """Decide. Raises DeviceRefused rather than touch anything that may be someone's data."""
    if not state.present:
        raise DeviceRefused(f"{device} is no block device on this node: see `lsblk` there")
    if state.mounted_uuid is not None and state.mounted_uuid != state.uuid:
        raise DeviceRefused(
            f"{root} is another filesystem's mount point already (UUID {state.mounted_uuid}): "
            f"unmount it, or name its device in the cluster file"
        )
    if state.mounted_uuid is not None:
        # An operator's own options stay.
        return Plan(format=False, mount=state.fstab_options in (None, _OPTIONS_ONCE))
    if state.root_has_data:
        raise DeviceRefused(
            f"{root} holds files on the system's own disk, which a mount would hide: move them away"
        )
    if not state.signatures:
        return Plan(format=True, mount=True)
    if state.signatures == (filesystem,) and state.filesystem == filesystem and state.uuid:
        return Plan(format=False, mount=True)
    raise DeviceRefused(
        f"{device} holds {', '.join(state.signatures)} and is neither empty nor {filesystem}: "
        f"nothing on it was touched; if it may be lost, run `wipefs --all {device}` on the node"
    )


# Nothing is reserved for root: the node keeps its own share free.
_MKFS = {"ext4": "mkfs.ext4 -q -m 0", "xfs": "mkfs.xfs -q"}


@operation()
def data_filesystem(device: str, filesystem: str, root: str) -> Generator[str]:
    """Format if and only if empty, then mount now and at every boot.

    + device: the block device
    + filesystem: ext4 or xfs
    + root: the mount point
    """
    state = host.get_fact(Device, device=device, root=root)
    try:
        decided = plan(state, device, filesystem, root)
    except DeviceRefused as refused:
        raise OperationError(str(refused)) from None
    dev = shlex.quote(device)
    if decided.format:
        # Asked once more in the same breath: blkid's 2 is "nothing found", nothing else will do.
        yield (
            f'[ -z "$(wipefs --no-act {dev})" ] || exit 1; blkid --probe {dev}; [ $? -eq 2 ] || '
            f"{{ echo {dev} is not empty after all >&2; exit 1; }}; {_MKFS[filesystem]} {dev}"
        )
    if decided.mount:
        # nofail: a node whose data disk is gone still boots and can be reached. One that comes
        # later is mounted then: its device wants it (systemd.mount(5)). The last column has ext4
        # checked at boot, after the root filesystem.
        check = "2" if filesystem == "ext4" else "0"
        yield (
            f"set -e; uuid=$(blkid --probe --match-tag UUID --output value {dev}); "
            '[ -n "$uuid" ]; '
            "appears=$(systemd-escape --path --suffix=device /dev/disk/by-uuid/$uuid); "
            f"options={_OPTIONS_ONCE},x-systemd.wanted-by=local-fs.target,"
            "x-systemd.wanted-by=$appears; "
            f"{{ awk '!({_of_root(root)})' /etc/fstab; printf '%s\\n' "
            f'"UUID=$uuid {root} {filesystem} $options 0 {check}"; }} > /etc/fstab.portside; '
            f"mountpoint -q {root} || {{ {_bare_mount_point(root)}; }}; "
            "findmnt --verify --tab-file /etc/fstab.portside >&2; "
            # Everybody's to read, whatever the login's umask is.
            "chmod 0644 /etc/fstab.portside; "
            "mv -fT /etc/fstab.portside /etc/fstab; systemctl daemon-reload; "
            f"mountpoint -q {root} || mount {root}"
        )


def _of_root(root: str) -> str:
    """awk: whether a line of fstab is for this mount point."""
    return f'$1 !~ /^#/ && $2 == "{root}"'


def _bare_mount_point(root: str) -> str:
    """Shell: a mount point into which nobody, not even root, can write while nothing is mounted.

    Not every filesystem has chattr's flag. Without it the mode keeps out everybody but root.
    """
    return (
        f"chattr -i {root} 2>/dev/null || true; install -d -o root -g root -m 0555 {root}; "
        f"chattr +i {root} 2>/dev/null || true"
    )
