"""The cgroup's limit counts where it is smaller than the machine."""

from __future__ import annotations

from pathlib import Path

import psutil

from agent.host import machine
from portside.quantities import MIB


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_without_a_limit_the_machines_memory_counts(tmp_path: Path) -> None:
    v1 = _write(tmp_path / "v1", memory__limit_in_bytes="9223372036854771712\n")
    v2 = _write(tmp_path / "v2", memory__max="max\n")
    assert machine.memory_total(v1, v2) == psutil.virtual_memory().total
    missing = tmp_path / "missing"
    assert machine.memory_total(missing, missing) == psutil.virtual_memory().total


def test_a_limit_of_either_version_counts(tmp_path: Path) -> None:
    v1 = _write(tmp_path / "v1", memory__limit_in_bytes=f"{512 * MIB}\n")
    v2 = _write(tmp_path / "v2", memory__max=f"{256 * MIB}\n")
    missing = tmp_path / "missing"
    assert machine.memory_total(v1, missing) == 512 * MIB
    assert machine.memory_total(missing, v2) == 256 * MIB


def test_page_cache_counts_as_available(tmp_path: Path) -> None:
    v1 = _write(
        tmp_path / "v1",
        memory__limit_in_bytes=str(512 * MIB),
        memory__usage_in_bytes=str(500 * MIB),
        memory__stat=f"cache 1\ntotal_inactive_file {300 * MIB}\ntotal_active_file {50 * MIB}\n",
    )
    assert machine.memory_available(v1, tmp_path / "missing") == 362 * MIB
    v2 = _write(
        tmp_path / "v2",
        memory__max=str(512 * MIB),
        memory__current=str(100 * MIB),
        memory__stat=f"inactive_file {20 * MIB}\nactive_file 0\n",
    )
    assert machine.memory_available(tmp_path / "missing", v2) == 432 * MIB
