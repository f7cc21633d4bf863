"""A small ext4 filesystem whose power can be cut.

FS_IOC_SHUTDOWN with NOLOGFLUSH stops a mounted filesystem at once: what is only in memory, pages
and the journal's open transaction, never reaches the device; mounting again replays the journal,
as after a power cut. The device itself forgets nothing: a disk that lies about its own cache is
not shown by this.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import time
from pathlib import Path
from types import TracebackType

_FS_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, __u32), which ext4 took over from XFS (fs/ext4/ext4.h)."""

_NOLOGFLUSH = 2
_BUSY_SECONDS = 180.0
"""How long something may hold on to a filesystem: a mount namespace that somebody made elsewhere on
the computer (a container's start, the building of an image) has a copy of every mount."""


class FilesystemFailed(Exception):
    """A mount or an unmount that didn't work; the message has the tool's words."""


class Disk:
    """An image file, its loop device and where it is mounted, for the length of the context."""

    def __init__(self, directory: Path, size: int, inodes: int | None = None) -> None:
        """`inodes`: how many it has in all; None is as many as mkfs finds right."""
        self.root = directory / "disk"
        self._image = directory / "disk.img"
        self._size = size
        self._options = () if inodes is None else ("-N", str(inodes))
        self._device = ""

    def __enter__(self) -> Disk:
        self.root.mkdir()
        with self._image.open("wb") as file:
            file.truncate(self._size)
        _run("mkfs.ext4", "-q", "-m", "0", *self._options, str(self._image))
        self._device = _run("losetup", "--find", "--show", str(self._image)).strip()
        try:
            self._mount()
        except BaseException:
            _run("losetup", "--detach", self._device)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            # Asked of the kernel: an interruption may have come right behind the tool's end.
            if self._is_mounted():
                self._unmount()
        finally:
            _run("losetup", "--detach", self._device)
            self._image.unlink()

    def cut(self) -> None:
        """Cut the power: nothing reaches the disk any more, and every call on it fails."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, _FS_IOC_SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def power_on(self) -> None:
        """Mount again after a cut. Nobody may use the filesystem any more."""
        self._unmount()
        self._wait_until_let_go()
        self._mount()

    def wipe(self) -> None:
        """Remove everything on it, durably."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.sync()

    def sync(self) -> None:
        """Put everything on disk that is in memory."""
        _run("sync", "--file-system", str(self.root))

    @property
    def used_share(self) -> float:
        """How full it is, 0 to 1."""
        found = os.statvfs(self.root)
        return 1 - found.f_bavail / found.f_blocks

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def _mount(self) -> None:
        _run("mount", "-t", "ext4", self._device, str(self.root))

    def _is_mounted(self) -> bool:
        # Spaces are written as octal there (proc(5)).
        point = str(self.root).replace(" ", "\\040")
        return f" {point} " in Path("/proc/self/mountinfo").read_text(encoding="utf-8")

    def _unmount(self) -> None:
        """Processes that were killed may need a moment to let go of their files."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                _run("umount", str(self.root))
            except FilesystemFailed:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

    def _wait_until_let_go(self) -> None:
        """Mounted again while another mount namespace has it, it would be the one that was cut."""
        deadline = time.monotonic() + _BUSY_SECONDS
        while self._is_alive():
            if time.monotonic() > deadline:
                raise FilesystemFailed(
                    f"{self._device} is unmounted here, and another mount namespace still has it: "
                    f"`grep -l {self.root} /proc/*/mounts` tells whose"
                )
            time.sleep(0.01)

    def _is_alive(self) -> bool:
        """Whether the kernel has this filesystem, wherever it is mounted."""
        return Path("/sys/fs/ext4", Path(self._device).name).exists()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FilesystemFailed(f"`{' '.join(command)}`: {done.stderr.strip()}")
    return done.stdout
