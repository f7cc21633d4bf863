"""Receive, write and hash at the same time: bytes and digest are right, failures come out."""

from __future__ import annotations

import hashlib
import io
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.storage.staging import DiskFull, StagingFile
from agent.uploads.pipeline import BodyTooLarge, receive
from portside.quantities import GIB, KIB, MIB
from portside.sizing import Machine, size

SIZING = replace(
    size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)), ring_buffer=16 * KIB, sync_window=64 * KIB
)
FILE_ID = "0" * 32


class _Bytes:
    """A body out of memory."""

    def __init__(self, content: bytes) -> None:
        self._stream = io.BytesIO(content)

    def fill(self, buffer: memoryview) -> int:
        return self._stream.readinto(buffer)


class _FullDisk(StagingFile):
    """The disk takes 32 KiB."""

    def write(self, data: memoryview) -> None:
        if self.size >= 32 * KIB:
            raise DiskFull("the disk is full (writing)")
        super().write(data)


@given(length=st.integers(min_value=0, max_value=200 * KIB))
def test_every_length_arrives_whole(tmp_path_factory: pytest.TempPathFactory, length: int) -> None:
    content = os.urandom(length)
    directory = tmp_path_factory.mktemp("staging")
    with StagingFile.create(directory, FILE_ID, SIZING) as staging:
        digest = hashlib.sha256()
        size = receive(_Bytes(content), staging, SIZING, 1 * MIB, [digest.update])
        assert staging.path.read_bytes() == content
    assert size == length
    assert digest.digest() == hashlib.sha256(content).digest()


def test_the_first_bytes_are_seen_before_any_is_written(tmp_path: Path) -> None:
    content = os.urandom(64 * KIB)
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as staging:

        def look(head: bytes) -> None:
            assert head == content[: len(head)]
            assert len(head) == 16 * KIB
            assert staging.size == 0
            raise LookupError

        with pytest.raises(LookupError):
            receive(_Bytes(content), staging, SIZING, 1 * MIB, [], look)
        assert staging.size == 0


def test_a_failed_write_ends_the_upload_and_its_threads(tmp_path: Path) -> None:
    before = threading.active_count()
    with _FullDisk.create(tmp_path, FILE_ID, SIZING) as staging, pytest.raises(DiskFull):
        receive(_Bytes(bytes(1 * MIB)), staging, SIZING, 2 * MIB, [])
    # The thread pool that syncs windows is shared and stays.
    assert threading.active_count() <= before + 2


def test_a_body_past_its_limit_is_cut_off(tmp_path: Path) -> None:
    with StagingFile.create(tmp_path, FILE_ID, SIZING) as staging, pytest.raises(BodyTooLarge):
        receive(_Bytes(bytes(100 * KIB)), staging, SIZING, 100 * KIB - 1, [])
