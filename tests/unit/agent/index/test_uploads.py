"""Rows of uploads: an offset never goes back, and one token never begins two files."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from agent.index.database import Database
from agent.index.revocations import Revocations
from agent.index.uploads import MOST_PARTS, Details, Kind, Upload, UploadIndex, contiguous
from agent.problems import ProblemError
from tests.support.minting import upload_claims


@pytest.fixture
def sessions(tmp_path: Path) -> UploadIndex:
    return UploadIndex(Database(tmp_path / "index.sqlite"))


def _upload(kind: Kind = "whole", number: int = 0, **changed: object) -> Upload:
    claims = upload_claims("lab", "s01", {"namespace": "isos", "jti": "token-0001"})
    upload = Upload(
        upload_id=f"{number:032x}",
        jti=claims.jti,
        kind=kind,
        state="OPEN",
        staging="file.part",
        path=None,
        start=0,
        length=100,
        offset=0,
        hash_state=None,
        deadline=int(time.time()) + 600,
        details=Details(claims=claims, dialect="tus", name="a.bin"),
    )
    return replace(upload, **changed)  # type: ignore[arg-type]


def test_an_upload_comes_back_as_it_was_added(sessions: UploadIndex) -> None:
    upload = _upload(path="isos/a.bin", hash_state=b"state")
    sessions.add(upload)
    assert sessions.find(upload.upload_id) == upload
    assert sessions.of_token(upload.jti) == [upload]
    assert sessions.find("f" * 32) is None


def test_an_offset_never_goes_back(sessions: UploadIndex) -> None:
    upload = _upload()
    sessions.add(upload)
    sessions.record(upload, 50, b"fifty")
    sessions.record(upload, 20, b"twenty")
    found = sessions.find(upload.upload_id)
    assert found is not None
    assert (found.offset, found.hash_state) == (50, b"fifty")


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        ("whole", "whole", True),
        ("whole", "part", True),
        ("whole", "final", True),
        ("part", "whole", True),
        ("part", "part", False),
        ("part", "final", False),
    ],
)
def test_one_token_makes_one_file(
    sessions: UploadIndex, first: Kind, second: Kind, taken: bool
) -> None:
    sessions.add(_upload(first))
    if not taken:
        sessions.add(_upload(second, number=1))
        return
    with pytest.raises(ProblemError) as refused:
        sessions.add(_upload(second, number=1))
    assert refused.value.slug == "upload-in-progress"


def test_a_token_is_free_again_once_its_upload_has_ended(sessions: UploadIndex) -> None:
    sessions.add(_upload())
    sessions.end(_upload().upload_id)
    sessions.add(_upload(number=1))


def test_a_file_has_a_bounded_number_of_parts(sessions: UploadIndex) -> None:
    for number in range(MOST_PARTS):
        sessions.add(_upload("part", number))
    with pytest.raises(ProblemError):
        sessions.add(_upload("part", MOST_PARTS))


def test_a_staging_file_is_needed_as_long_as_an_upload_goes_on_in_it(sessions: UploadIndex) -> None:
    sessions.add(_upload("part", 0))
    sessions.add(_upload("part", 1))
    sessions.end(_upload(number=0).upload_id)
    assert sessions.needs("file.part")
    sessions.end(_upload(number=1).upload_id)
    assert not sessions.needs("file.part")


def test_a_name_is_reserved_for_the_token_that_is_on_its_way_to_it(sessions: UploadIndex) -> None:
    sessions.add(_upload(path="isos/a.bin"))
    path = PurePosixPath("isos/a.bin")
    assert sessions.reserves(path, "someone-else")
    assert not sessions.reserves(path, "token-0001")
    sessions.end(_upload().upload_id)
    assert not sessions.reserves(path, "someone-else")


def test_what_is_past_its_deadline_is_overdue_and_later_forgotten(sessions: UploadIndex) -> None:
    past = int(time.time()) - 90_000
    sessions.add(_upload(deadline=past))
    assert [each.upload_id for each in sessions.overdue()] == [_upload().upload_id]
    assert sessions.forget_old() == 0
    sessions.end(_upload().upload_id)
    assert sessions.overdue() == []
    assert sessions.forget_old() == 1
    assert sessions.find(_upload().upload_id) is None


@pytest.mark.parametrize(
    ("parts", "end"),
    [
        ([], 0),
        ([(0, 10, 10), (10, 10, 3)], 13),
        ([(0, 10, 4), (10, 10, 10)], 4),
        ([(0, 10, 10), (10, 5, 5), (15, 1, 1)], 16),
        ([(0, 0, 0), (0, 5, 5)], 5),
        ([(10, 5, 5)], 0),
    ],
)
def test_bytes_are_contiguous_up_to_the_first_gap(
    parts: list[tuple[int, int, int]], end: int
) -> None:
    uploads = [
        _upload("part", n, start=start, length=length, offset=offset)
        for n, (start, length, offset) in enumerate(parts)
    ]
    assert contiguous(uploads) == end


def test_what_was_not_begun_in_time_is_overdue_and_so_is_what_is_revoked(
    sessions: UploadIndex,
) -> None:
    late = upload_claims(
        "lab", "s01", {"namespace": "isos", "jti": "token-late", "exp": int(time.time()) - 3600}
    )
    details = Details(claims=late, dialect="ietf", name="a.bin")
    unbegun = _upload(number=1, jti=late.jti, details=details)
    of_no_length = replace(unbegun, upload_id="2" * 32, kind="part", length=0, promised=0)
    joined = replace(unbegun, upload_id="3" * 32, kind="final", jti="token-joined")
    begun = replace(unbegun, upload_id="4" * 32, jti="token-begun", offset=1)
    in_time = _upload(number=5, jti="token-in-time")
    for index, upload in enumerate((unbegun, joined, begun, in_time)):
        sessions.add(replace(upload, staging=f"{index}.part"))
    with sessions._database.transaction() as connection:
        connection.execute(
            "INSERT INTO uploads SELECT ?, 'token-empty', 'part', state, staging, path, start, 0, "
            "0, hash_state, deadline, details, 0 FROM uploads WHERE upload_id = ?",
            (of_no_length.upload_id, unbegun.upload_id),
        )
    assert [each.upload_id for each in sessions.overdue()] == [unbegun.upload_id]
    assert sessions.begun() == {"token-begun"}
    Revocations(sessions._database).add(["token-begun"])
    assert {each.upload_id for each in sessions.overdue()} == {unbegun.upload_id, begun.upload_id}
