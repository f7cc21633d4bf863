"""A file's digest follows its writers, whatever the sizes of what they leave behind."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.resumable.prefix_hash import PrefixHash
from agent.storage.staging import DiskFailed
from portside.quantities import KIB


@given(steps=st.lists(st.integers(min_value=0, max_value=50_000), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_the_digest_is_that_of_the_bytes_however_they_came(
    tmp_path: Path, steps: list[int]
) -> None:
    path, content = tmp_path / "file", os.urandom(sum(steps))
    path.write_bytes(content)
    digest, frontier = PrefixHash(path, 16 * KIB), 0
    for step in steps:
        frontier += step
        digest.advance(frontier)
    assert digest.hexdigest(len(content)) == hashlib.sha256(content).hexdigest()


def test_bytes_that_are_written_later_are_read_later(tmp_path: Path) -> None:
    path = tmp_path / "file"
    first, second = os.urandom(5000), os.urandom(9001)
    path.write_bytes(first)
    digest = PrefixHash(path, 4 * KIB)
    assert digest.hexdigest(5000) == hashlib.sha256(first).hexdigest()
    with path.open("ab") as file:
        file.write(second)
    assert digest.hexdigest(14001) == hashlib.sha256(first + second).hexdigest()


def test_a_file_shorter_than_promised_fails_instead_of_hanging(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    with pytest.raises(DiskFailed):
        PrefixHash(path, 4 * KIB).hexdigest(101)


def test_less_than_what_was_hashed_is_another_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    digest = PrefixHash(path, 4 * KIB)
    digest.hexdigest(100)
    with pytest.raises(ValueError, match="100 bytes are hashed"):
        digest.hexdigest(50)
