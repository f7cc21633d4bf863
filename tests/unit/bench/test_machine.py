"""A figure is recorded with the disk it was taken on, not with the root filesystem's."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.disk import write
from bench.machine import describe, filesystem_of
from bench.source import make, sha256_of

_MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /srv rw - tmpfs tmpfs rw
24 22 254:16 / /srv rw,noatime - xfs /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind"), [("/home/x", "ext4"), ("/srv/data", "xfs"), ("/srvx", "ext4")]
)
def test_the_deepest_and_latest_mount_holds_a_path(path: str, kind: str) -> None:
    assert filesystem_of(_MOUNTS, Path(path)) == kind


def test_a_machine_is_described_in_five_facts(tmp_path: Path) -> None:
    assert all(describe(tmp_path).lines())
    assert len(describe(tmp_path).lines()) == 5


def test_the_source_has_the_digest_it_tells(tmp_path: Path) -> None:
    source = make(tmp_path / "source", 5_000_001)
    assert source.path.stat().st_size == 5_000_001
    assert sha256_of(source.path) == source.sha256


def test_the_disk_is_measured_with_sizes_that_are_no_whole_blocks(tmp_path: Path) -> None:
    source = make(tmp_path / "source", 3_000_001)
    assert write(source, tmp_path, direct=False).seconds > 0
    assert write(source, tmp_path, direct=True).seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
