"""A growing file: reserved, paced, odd at its end, durable, and swept if abandoned."""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.storage.staging import (
    DiskFailed,
    DiskFull,
    StagingFile,
    is_live,
    remove_abandoned,
    translated,
)
from portside.quantities import GIB, KIB, MIB
from portside.sizing import Machine, size

SIZING = replace(size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)), sync_window=1 * MIB)
FILE_ID = "0" * 32


@pytest.fixture(params=["direct", "cached"])
def staging(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StagingFile]:
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as file:
        if request.param == "cached":
            file._leave_direct()
        yield file


def _piece(content: bytes) -> memoryview:
    """Page-aligned, as the ring's buffers are."""
    memory = mmap.mmap(-1, len(content))
    memory.write(content)
    return memoryview(memory)


@pytest.mark.parametrize("tail", [0, 1, 4095, 5000])
def test_what_is_written_is_what_is_there(staging: StagingFile, tail: int) -> None:
    whole = os.urandom(256 * KIB) * 20
    for position in range(0, len(whole), 256 * KIB):
        staging.write(_piece(whole[position : position + 256 * KIB]))
    rest = os.urandom(tail)
    if rest:
        staging.write(_piece(rest))
    staging.make_durable()
    assert staging.path.read_bytes() == whole + rest
    assert staging.durable == staging.size == len(whole) + tail


def test_windows_become_durable_on_the_way(staging: StagingFile) -> None:
    for _ in range(20):
        staging.write(_piece(bytes(256 * KIB)))
    # At most two windows are ever open, the one being synced and the one being filled.
    assert staging.size - staging.durable <= 2 * SIZING.sync_window + 256 * KIB


def test_space_reserved_beyond_the_end_is_given_back(staging: StagingFile) -> None:
    assert staging.reserve(64 * MIB)
    assert staging.path.stat().st_blocks * 512 >= 64 * MIB
    staging.write(_piece(bytes(8 * KIB)))
    staging.make_durable()
    assert staging.path.stat().st_blocks * 512 < 1 * MIB
    assert staging.path.stat().st_size == 8 * KIB


def test_the_file_goes_with_its_context_unless_it_is_kept(tmp_path: Path) -> None:
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as dropped:
        pass
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as kept:
        kept.keep()
    assert not dropped.path.exists()
    assert kept.path.exists()


def _not_needed(name: str) -> bool:
    return False


def test_a_live_file_is_not_swept_and_an_abandoned_one_is(tmp_path: Path) -> None:
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as live:
        assert is_live(live.path)
        assert not remove_abandoned(live.path, _not_needed)
        live.keep()
    assert not is_live(live.path)
    assert not remove_abandoned(live.path, lambda name: name == live.path.name)
    assert remove_abandoned(live.path, _not_needed)
    assert not remove_abandoned(live.path, _not_needed)


def test_one_file_id_can_be_staged_twice(tmp_path: Path) -> None:
    with (
        StagingFile.create(tmp_path, FILE_ID, SIZING) as one,
        StagingFile.create(tmp_path, FILE_ID, SIZING) as two,
    ):
        assert one.path != two.path


def test_errors_of_the_system_have_a_meaning() -> None:
    assert isinstance(translated(OSError(errno.ENOSPC, ""), "x"), DiskFull)
    assert isinstance(translated(OSError(errno.EDQUOT, ""), "x"), DiskFull)
    failed = translated(OSError(errno.EIO, "I/O error"), "writing")
    assert isinstance(failed, DiskFailed)
    assert failed.final
    passing = translated(OSError(errno.EMFILE, ""), "opening")
    assert isinstance(passing, DiskFailed)
    assert not passing.final
