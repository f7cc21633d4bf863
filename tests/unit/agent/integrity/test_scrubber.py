"""What is read next, how fast, and where a reading goes on: decided without a disk."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from agent.host.sha256 import Sha256
from agent.integrity.scrub_schedule import Bookmark, Candidate, Fingerprint, reading_order
from agent.storage.verification import PIECE
from portside.quantities import MIB
from portside.wire.files import StoredFile

DAY = 86400
NOW = 1_800_000_000 * 1_000_000
SEEN = Fingerprint(inode=7, size=10 * MIB, modified=1)


def _candidate(number: int, days_ago: float | None = None) -> Candidate:
    file_id = f"{number:032x}"
    stored = StoredFile(
        file_id=file_id,
        node_id="s01",
        namespace="isos",
        owner="user-7",
        name="a.iso",
        path=PurePosixPath(f"isos/{file_id}"),
        url=f"https://s01.portside.test/uploads/isos/{file_id}",
        size=10 * MIB,
        sha256="0" * 64,
        content_type="application/octet-stream",
        committed_at=datetime(2026, 1, 1, tzinfo=UTC),
        receipt="",
    )
    verified = None if days_ago is None else NOW - int(days_ago * DAY * 1_000_000)
    return Candidate(stored, verified)


def _bookmark(candidate: Candidate, offset: int = 3 * PIECE, begun_at: int = NOW) -> Bookmark:
    return Bookmark.at(candidate.stored.file_id, begun_at, offset, Sha256(), SEEN)


def test_a_file_never_read_and_one_read_long_ago_are_due_and_others_not() -> None:
    new, old, young = _candidate(1), _candidate(2, 31), _candidate(3, 29)
    assert reading_order(None, [new, old, young], (), NOW, 30 * DAY) == [new, old]


def test_nothing_is_read_when_every_file_was_read_lately() -> None:
    assert reading_order(None, [_candidate(1, 1), _candidate(2, 29)], (), NOW, 30 * DAY) == []


def test_what_was_begun_is_read_to_its_end_first_and_once() -> None:
    new, begun = _candidate(1), _candidate(2, 40)
    assert reading_order(begun, [new, begun], (), NOW, 30 * DAY) == [begun, new]


def test_what_could_not_be_judged_is_left_out() -> None:
    stuck, next_one = _candidate(1), _candidate(2)
    order = reading_order(None, [stuck, next_one], [stuck.stored.file_id], NOW, 30 * DAY)
    assert order == [next_one]


def test_a_bookmark_is_the_same_after_it_was_saved() -> None:
    digest = Sha256()
    digest.update(b"read so far")
    saved = Bookmark.at("0" * 32, NOW, 3 * PIECE, digest, SEEN)
    read = Bookmark.parse(saved.model_dump_json())
    assert read == saved
    assert read.digest().hexdigest() == digest.hexdigest()


@pytest.mark.parametrize(
    "note",
    [
        None,
        "",
        "{}",
        _bookmark(_candidate(1)).model_dump_json().replace('"offset":3145728', '"offset":17'),
        _bookmark(_candidate(1)).model_copy(update={"state": "AAAA"}).model_dump_json(),
        _bookmark(_candidate(1)).model_copy(update={"state": "%"}).model_dump_json(),
    ],
)
def test_a_note_that_is_no_bookmark_is_none(note: str | None) -> None:
    assert Bookmark.parse(note) is None


def test_a_bookmark_fits_its_own_file_unchanged() -> None:
    file = _candidate(1)
    assert _bookmark(file).fits(file, SEEN)
    assert not _bookmark(file).fits(_candidate(2), SEEN)
    for changed in (replace(SEEN, inode=8), replace(SEEN, size=9), replace(SEEN, modified=2)):
        assert not _bookmark(file).fits(file, changed)


def test_a_bookmark_of_a_reading_that_ended_since_is_not_used_again() -> None:
    before, after = _candidate(1, days_ago=2), _candidate(1, days_ago=0.5)
    bookmark = _bookmark(before, begun_at=NOW - DAY * 1_000_000)
    assert bookmark.is_open(before)
    assert not bookmark.is_open(after)
