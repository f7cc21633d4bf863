"""The machine a figure was taken on: without it a figure says nothing."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from portside.quantities import format_size


@dataclass(frozen=True, slots=True)
class Machine:
    """In words, for the record."""

    processor: str
    memory: str
    system: str
    disk: str
    load: str

    def lines(self) -> list[str]:
        """One fact per line."""
        return [self.processor, self.memory, self.system, self.disk, self.load]


def describe(directory: Path) -> Machine:
    """This machine, with the disk that `directory` is on and the load of the last minute."""
    return Machine(
        processor=f"{os.cpu_count()} cores, {_processor()}",
        memory=f"{format_size(os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES'))} of RAM",
        system=f"{platform.freedesktop_os_release()['PRETTY_NAME']}, Linux {platform.release()}",
        disk=_disk(directory),
        load=f"load {os.getloadavg()[0]:.1f} before the run",
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _disk(directory: Path) -> str:
    """Filesystem and kind of disk under `directory` (proc(5) mountinfo, sysfs)."""
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    filesystem = filesystem_of(mounts, directory.resolve())
    device = directory.stat().st_dev
    sysfs = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    queues = [sysfs / "queue", sysfs / ".." / "queue"]
    rotational = next((q / "rotational" for q in queues if (q / "rotational").exists()), None)
    if rotational is None:
        return f"{filesystem}, no disk of its own"
    name = sysfs.resolve().name
    if name.startswith("vd"):
        # virtio says "rotating" whatever lies beneath.
        return f"{filesystem} on {name} (virtual disk)"
    kind = "rotating disk" if rotational.read_text().strip() == "1" else "not rotating"
    return f"{filesystem} on {name} ({kind})"


def filesystem_of(mountinfo: str, path: Path) -> str:
    """The type of the filesystem that holds the absolute `path`."""
    best, kind = "", "unknown"
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = fields.split()[4]
        # A later mount on the same place hides the earlier one.
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, rest.split()[0]
    return kind
