"""How much memory the node has and has left, with the cgroup limit counted.

In a container `/proc/meminfo` may show the host: the cgroup's limit and usage are the truth where
they are smaller. Both cgroup versions are read; a file that isn't there means "no limit".
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil

_V2 = Path("/sys/fs/cgroup")
_V1 = Path("/sys/fs/cgroup/memory")

_UNLIMITED = 1 << 60
"""cgroup v1 writes a number near 2**63 for "no limit"."""


def memory_total(v1: Path = _V1, v2: Path = _V2) -> int:
    """Bytes of RAM: the smaller of MemTotal and the cgroup's limit."""
    return min(psutil.virtual_memory().total, _limit(v1, v2))


def memory_available(v1: Path = _V1, v2: Path = _V2) -> int:
    """Bytes that can be had without swapping: page cache counts as free."""
    return min(psutil.virtual_memory().available, _left_in_cgroup(v1, v2))


def resident_size() -> int:
    """Bytes of RAM that this process holds."""
    resident: int = psutil.Process(os.getpid()).memory_info().rss
    return resident


def _limit(v1: Path, v2: Path) -> int:
    limits = (_number(v2 / "memory.max"), _number(v1 / "memory.limit_in_bytes"))
    return min(limit if limit is not None else _UNLIMITED for limit in limits)


def _left_in_cgroup(v1: Path, v2: Path) -> int:
    limit = _limit(v1, v2)
    if limit >= _UNLIMITED:
        return _UNLIMITED
    usage = _number(v2 / "memory.current") or _number(v1 / "memory.usage_in_bytes") or 0
    statistics = _statistics(v2 / "memory.stat") or _statistics(v1 / "memory.stat")
    cache = sum(
        statistics.get(f"total_{kind}", statistics.get(kind, 0))
        for kind in ("inactive_file", "active_file")
    )
    return max(0, limit - usage + cache)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _statistics(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {key: int(value) for key, _, value in (line.partition(" ") for line in lines)}
