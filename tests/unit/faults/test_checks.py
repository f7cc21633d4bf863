"""Each broken promise is seen, and called by its name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from agent.storage.attributes import Attributes
from faults.checking.checks import Shelf
from faults.checking.content import Content
from faults.checking.figures import Figures
from faults.checking.journal import Attempt, Journal
from portside.wire.files import StoredFile
from tests.support.minting import upload_claims

DATA = b"what was sent"
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("uploads", "staging"):
        (tmp_path / folder).mkdir()
    return tmp_path


@pytest.fixture
def checked(root: Path) -> Callable[[Attempt], Figures]:
    """The figures of a check after one attempt."""

    def check(attempt: Attempt) -> Figures:
        journal, figures, shelf = Journal(), Figures(), Shelf(root)
        journal.begin(attempt)
        for _ in range(2):
            # Once however often it is looked at.
            shelf.check(journal, figures)
            shelf.check_staging(figures)
            shelf.forget()
        return figures

    return check


def _attempt(acknowledged_at: str | None = None) -> Attempt:
    claims = upload_claims("lab", "s01", {"namespace": "isos"})
    content = Content(memoryview(DATA), 0, len(DATA))
    attempt = Attempt(claims, "token", "a.bin", "put", content)
    if acknowledged_at is not None:
        attempt.stored = _stored(attempt, acknowledged_at)
    return attempt


def _stored(attempt: Attempt, path: str) -> StoredFile:
    return StoredFile(
        file_id=attempt.claims.file_id,
        node_id="s01",
        namespace="isos",
        owner="user-7",
        name="a.bin",
        path=PurePosixPath(path),
        url="https://s01.portside.test/uploads/a.bin",
        size=len(DATA),
        sha256=DIGEST,
        content_type="application/octet-stream",
        committed_at=datetime.now(UTC),
        receipt="receipt",
    )


def _place(root: Path, name: str, data: bytes | None, owner: Attempt | None) -> None:
    """A visible file, `owner`'s by its attributes; either may be left out."""
    path = root / "uploads" / name
    if data is not None:
        path.write_bytes(data)
    if owner is not None:
        attributes = Attributes(**dict(_stored(owner, name)), jti=owner.claims.jti)
        path.with_name(f"{name}.attr.json").write_text(attributes.model_dump_json())


def test_an_acknowledged_file_that_is_there_is_fine(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt("a.bin")
    _place(root, "a.bin", DATA, attempt)
    assert checked(attempt).holds


def test_a_whole_file_whose_answer_was_lost_is_fine(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt()
    _place(root, "a.bin", DATA, attempt)
    assert checked(attempt).holds


def test_an_acknowledged_file_that_is_gone_is_lost(checked: Callable[[Attempt], Figures]) -> None:
    assert checked(_attempt("a.bin")).broken == {"lost": 1}


def test_an_acknowledged_file_at_another_place_is_lost(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt("a.bin")
    _place(root, "b.bin", DATA, attempt)
    assert checked(attempt).broken == {"lost": 1}


@pytest.mark.parametrize("data", [b"", DATA[:-1], b"X" + DATA[1:]])
def test_an_acknowledged_file_with_other_bytes_is_damaged(
    root: Path, checked: Callable[[Attempt], Figures], data: bytes
) -> None:
    attempt = _attempt("a.bin")
    _place(root, "a.bin", data, attempt)
    assert checked(attempt).broken == {"damaged": 1}


def test_a_visible_file_of_which_a_part_is_there_is_partial(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt()
    _place(root, "a.bin", DATA[:5], attempt)
    assert checked(attempt).broken == {"partial": 1}


def test_a_visible_file_without_attributes_is_partial(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    _place(root, "a.bin", DATA, None)
    assert checked(_attempt()).broken == {"partial": 1}


def test_a_visible_file_that_nobody_uploaded_is_partial(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    _place(root, "a.bin", DATA, _attempt())
    assert checked(_attempt()).broken == {"partial": 1}


def test_two_files_under_one_token_are_seen(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt()
    _place(root, "a.bin", DATA, attempt)
    _place(root, "b.bin", DATA, attempt)
    assert checked(attempt).broken == {"twice": 1}


def test_staging_files_and_attributes_without_data_are_left_over(
    root: Path, checked: Callable[[Attempt], Figures]
) -> None:
    attempt = _attempt()
    _place(root, "a.bin", None, attempt)
    (root / "staging" / "a.part").touch()
    assert checked(attempt).broken == {"leftover": 2}
