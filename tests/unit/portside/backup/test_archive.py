"""A backup is whole and right in every byte, or it is refused with a line that says why."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from portside.backup import archive
from portside.backup.archive import About, BackupUnusable, Source
from portside.backup.sealing import Seal, new_key

ABOUT = About(
    cluster="lab",
    issuers=("kid-1",),
    made_at=datetime(2026, 12, 1, 3, 4, 5, tzinfo=UTC),
    release="a5f08a8e",
    database="sqlite",
    revision="0014",
    nodes=3,
    files=7,
    newest=None,
)
DATABASE = hashlib.shake_256(b"").digest(20_000)


def made(folder: Path, seal: Seal | None = None) -> Path:
    path = folder / "backup.tar"
    with path.open("wb") as out:
        sources = [
            Source(archive.DATABASE, BytesIO(DATABASE), seal=seal),
            Source(archive.SETTINGS, BytesIO(b"settings"), seal=seal),
        ]
        archive.write(out, ABOUT, sources, folder)
    return path


def test_what_was_put_in_comes_out_and_names_sort_by_age(tmp_path: Path) -> None:
    path = made(tmp_path)
    manifest = archive.verify(path)
    assert manifest == archive.read(path)
    assert manifest.about == ABOUT
    assert manifest.name == "lab-20261201T030405Z.portside-backup.tar"
    database = BytesIO()
    archive.unpack(path, archive.DATABASE, {}, database)
    assert database.getvalue() == DATABASE
    assert list(tmp_path.iterdir()) == [path], "nothing is left of the spool"


def test_tar_and_sha256sum_read_it_too(tmp_path: Path) -> None:
    path = made(tmp_path)
    subprocess.run(["tar", "-xf", path], cwd=tmp_path, check=True)
    subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, check=True)
    done = subprocess.run(["gunzip", "-c", "database.gz"], cwd=tmp_path, capture_output=True)
    assert done.stdout == DATABASE


def test_a_sealed_part_shows_nothing_and_needs_its_key(tmp_path: Path) -> None:
    seal = Seal.of_key(new_key())
    path = made(tmp_path, seal)
    manifest = archive.verify(path)
    assert [part.member for part in manifest.parts] == [
        "database.gz.sealed",
        "settings.tar.gz.sealed",
    ]
    database = BytesIO()
    archive.unpack(path, archive.DATABASE, {"key": seal}, database)
    assert database.getvalue() == DATABASE
    with pytest.raises(BackupUnusable, match="sealed with a key: none is here"):
        archive.unpack(path, archive.DATABASE, {}, BytesIO())
    with pytest.raises(BackupUnusable, match="the key is another one"):
        archive.unpack(path, archive.DATABASE, {"key": Seal.of_key(new_key())}, BytesIO())


def test_a_byte_that_changed_anywhere_is_found(tmp_path: Path) -> None:
    path = made(tmp_path)
    content = path.read_bytes()
    with tarfile.open(path) as tar:
        end = max(each.offset_data + each.size for each in tar)
        padding = {
            byte
            for each in tar
            for byte in range(each.offset_data + each.size, each.offset_data + each.size + 512)
        }
        heads = {byte for each in tar for byte in range(each.offset, each.offset_data)}
    # What tar fills up with, and its heads' unused ends, have nothing to say.
    told = [byte for byte in range(0, end, 97) if byte not in padding and byte not in heads]
    assert len(told) > 100
    for byte in told:
        path.write_bytes(content[:byte] + bytes([content[byte] ^ 4]) + content[byte + 1 :])
        with pytest.raises(BackupUnusable, match=str(path)):
            archive.verify(path)


def _cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _without_the_database(content: bytes) -> bytes:
    return _with(content, lambda name, data: None if name == "database.gz" else data)


def _newer(content: bytes) -> bytes:
    def change(name: str, data: bytes) -> bytes:
        return data.replace(b'"format": 1', b'"format": 2') if name == "manifest.json" else data

    return _with(content, change, sums=True)


def _with(
    content: bytes, change: Callable[[str, bytes], bytes | None], sums: bool = False
) -> bytes:

    out = BytesIO()
    kept: dict[str, bytes] = {}
    with tarfile.open(fileobj=BytesIO(content)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            if data is not None:
                kept[member.name] = data
    if sums:
        kept["SHA256SUMS"] = "".join(
            f"{hashlib.sha256(data).hexdigest()}  {name}\n"
            for name, data in kept.items()
            if name != "SHA256SUMS"
        ).encode()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in kept.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda content: b"", "no backup"),
        (lambda content: b"no tar at all" * 100, "no backup"),
        (_cut, "damaged"),
        (_without_the_database, "database.gz is missing"),
        (_newer, "a format that this release doesn't know"),
        (lambda content: _with(content, lambda n, d: d + b"x"), "another digest"),
    ],
)
def test_what_is_no_whole_backup_is_refused_with_a_line(
    tmp_path: Path, change: Callable[[bytes], bytes], why: str
) -> None:
    path = made(tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BackupUnusable, match=why) as refused:
        archive.verify(path)
    assert "\n" not in str(refused.value)


class _Longest(BytesIO):
    """Remembers the longest piece that was written."""

    longest = 0

    def write(self, piece: Any) -> int:
        self.longest = max(self.longest, len(piece))
        return super().write(piece)


def _of(folder: Path, content: bytes) -> Path:
    path = folder / "backup.tar"
    with path.open("wb") as out:
        archive.write(out, ABOUT, [Source(archive.DATABASE, BytesIO(content), True)], folder)
    return path


def test_what_inflates_to_much_more_is_written_piece_by_piece(tmp_path: Path) -> None:
    text = bytes(50_000_000)
    to = _Longest()
    archive.unpack(_of(tmp_path, gzip.compress(text)), archive.DATABASE, {}, to)
    assert to.getvalue() == text
    assert to.longest <= 1 << 20


def test_what_follows_a_parts_end_is_damage(tmp_path: Path) -> None:
    path = _of(tmp_path, gzip.compress(b"text") + b"more")
    with pytest.raises(BackupUnusable, match="goes on after its end"):
        archive.unpack(path, archive.DATABASE, {}, BytesIO())


def test_the_manifest_tells_no_secret_and_is_plain_json(tmp_path: Path) -> None:
    with tarfile.open(made(tmp_path, Seal.of_key(new_key()))) as tar:
        first = tar.extractfile("manifest.json")
        assert first is not None
        told = json.load(first)
    assert told["about"]["cluster"] == "lab"
    assert {part["sealed"] for part in told["parts"]} == {"key"}
