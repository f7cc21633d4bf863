"""What is wrong at a path follows from what is known of it, and from nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from agent.integrity.diagnosis import (
    Finding,
    Gravity,
    Kind,
    Place,
    Row,
    Unusable,
    classify,
    exit_code,
    needs_digest,
)
from agent.storage.attributes import Attributes
from agent.storage.layout import is_past, is_place, quarantined_id, staged_for

PATH = "isos/2026/01/02/03/a_user-7_20260102T030405_0a0a0a0a.bin"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OURS = Attributes(
    file_id="0a" * 16,
    node_id="s01",
    namespace="isos",
    owner="user-7",
    name="a.bin",
    path=PurePosixPath(PATH),
    url=f"https://s01.portside.test/uploads/{PATH}",
    size=10,
    sha256="ab" * 32,
    content_type="application/octet-stream",
    committed_at=NOW,
    receipt="a.b.c",
    jti="token-of-ours",
)
TOMBSTONE = OURS.model_copy(update={"deleted_at": NOW})
OTHER = OURS.model_copy(
    update={
        "file_id": "0b" * 16,
        "jti": "token-of-other",
        "path": PurePosixPath("isos/2026/01/02/03/b_user-7_20260102T030405_0b0b0b0b.bin"),
    }
)
TORN = Unusable("EOF while parsing")


def row_of(attributes: Attributes, state: str = "COMMITTED") -> Row:
    stored = attributes.stored()
    text = stored.model_dump_json()
    return Row(stored.file_id, attributes.jti, str(stored.path), state, text)


ROW = row_of(OURS)


def kind_of(
    size: int | None = 10,
    attributes: Attributes | Unusable | None = OURS,
    at_path: Row | None = ROW,
    of_file: Row | None = ROW,
    digest: str | Unusable | None = None,
) -> Kind | None:
    found = classify(Place(PATH, size, attributes, at_path, of_file, digest))
    return None if found is None else found.kind


def test_a_file_in_order_is_no_finding() -> None:
    assert kind_of() is None
    assert kind_of(digest=OURS.sha256) is None
    assert kind_of(size=None, attributes=None, at_path=None, of_file=None) is None


@pytest.mark.parametrize("attributes", [OURS, TORN, OTHER, None])
def test_a_committed_row_without_data_is_a_loss_whatever_lies_beside(
    attributes: Attributes | Unusable | None,
) -> None:
    assert kind_of(size=None, attributes=attributes) is Kind.LOST


def test_attributes_without_data_are_a_loss_without_a_row_too() -> None:
    assert kind_of(size=None, at_path=None, of_file=None) is Kind.LOST
    assert kind_of(size=None, attributes=TORN, at_path=None, of_file=None) is Kind.LOST


@pytest.mark.parametrize("attributes", [TORN, OTHER, TOMBSTONE, None])
@pytest.mark.parametrize("state", ["PENDING", "DELETING"])
def test_what_somebody_is_at_work_with_is_left_alone(
    attributes: Attributes | Unusable | None, state: str
) -> None:
    row = row_of(OURS, state)
    assert kind_of(attributes=attributes, at_path=row, of_file=row) is None
    assert kind_of(size=None, attributes=attributes, at_path=row, of_file=row) is None


@pytest.mark.parametrize("size", [10, None])
def test_a_quarantined_file_in_its_old_place_is_left_to_the_quarantine(size: int | None) -> None:
    assert kind_of(size=size, at_path=None, of_file=row_of(OURS, "QUARANTINED")) is None


@pytest.mark.parametrize("attributes", [OURS, TORN, OTHER, None])
def test_damage_is_seen_with_and_without_attributes(
    attributes: Attributes | Unusable | None,
) -> None:
    assert kind_of(size=9, attributes=attributes) is Kind.SIZE_MISMATCH
    assert kind_of(attributes=attributes, digest="cd" * 32) is Kind.DIGEST_MISMATCH
    unreadable = Unusable("can't be read: Input/output error")
    assert kind_of(attributes=attributes, digest=unreadable) is Kind.UNREADABLE_DATA


@pytest.mark.parametrize("attributes", [TORN, OTHER, None])
def test_useless_attributes_are_written_again_only_where_the_data_is_the_row_s(
    attributes: Attributes | Unusable | None,
) -> None:
    assert needs_digest(Place(PATH, 10, attributes, ROW, None))
    assert kind_of(attributes=attributes, digest=OURS.sha256) is Kind.BAD_ATTRIBUTES


def test_data_that_only_itself_tells_of() -> None:
    assert kind_of(attributes=None, at_path=None, of_file=None) is Kind.WITHOUT_ATTRIBUTES
    assert kind_of(attributes=TORN, at_path=None, of_file=None) is Kind.UNKNOWN_DATA


def test_a_file_that_the_index_does_not_know_gets_its_row() -> None:
    assert kind_of(at_path=None, of_file=None) is Kind.WITHOUT_ROW
    changed = row_of(OURS.model_copy(update={"owner": "other"}))
    assert kind_of(at_path=changed, of_file=changed) is Kind.OUTDATED_ROW


@pytest.mark.parametrize(
    "of_file",
    [
        row_of(OURS, "DELETED"),
        row_of(OTHER),
        row_of(OTHER.model_copy(update={"file_id": OURS.file_id}), "QUARANTINED"),
    ],
)
def test_a_file_whose_token_or_id_is_another_s_is_a_conflict(of_file: Row) -> None:
    assert kind_of(at_path=None, of_file=of_file) is Kind.CONFLICT


def test_a_whole_file_in_another_place_is_misplaced() -> None:
    assert needs_digest(Place(PATH, 10, OTHER, None, None))
    assert kind_of(attributes=OTHER, at_path=None, of_file=None) is Kind.MISPLACED
    assert kind_of(9, OTHER, None, None) is Kind.UNKNOWN_DATA
    assert kind_of(None, OTHER, None, None) is Kind.STRAY_ATTRIBUTES


def test_only_what_was_deleted_is_removed_beside_a_tombstone() -> None:
    assert needs_digest(Place(PATH, 10, TOMBSTONE, None, None))
    for row in (None, ROW):
        assert kind_of(10, TOMBSTONE, row, row, OURS.sha256) is Kind.HALF_DELETED
        assert kind_of(10, TOMBSTONE, row, row, "cd" * 32) is Kind.WITHOUT_ATTRIBUTES
        assert kind_of(9, TOMBSTONE, row, row) is Kind.WITHOUT_ATTRIBUTES


def test_a_tombstone_alone_is_in_order_once_it_has_a_row() -> None:
    assert kind_of(None, TOMBSTONE, None, row_of(OURS, "DELETED")) is None
    assert kind_of(None, TOMBSTONE, None, None) is Kind.TOMBSTONE_WITHOUT_ROW


@pytest.mark.parametrize(
    ("path", "ours"),
    [
        (PATH, True),
        ("isos/a.bin", True),
        ("isos/日本.bin", True),
        ("a.bin", False),
        ("isos/.hidden", False),
        ("isos/two words.bin", False),
        ("isos/folder/a.bin", False),
        ("isos/2026/1/2/3/a.bin", False),
        ("ISOs/a.bin", False),
        ("isos/", False),
    ],
)
def test_names_that_this_node_gives_are_known(path: str, ours: bool) -> None:
    assert is_place(path) is ours


@pytest.mark.parametrize("attributes", [None, TORN])
@pytest.mark.parametrize("size", [3, None])
def test_other_names_are_foreign(size: int | None, attributes: Unusable | None) -> None:
    found = classify(Place("by hand.txt", size, attributes, None, None))
    if size is None and attributes is None:
        assert found is None
    else:
        assert found is not None
        assert found.kind is Kind.FOREIGN


def test_names_in_staging_belong_to_a_staging_file() -> None:
    part = f"{'0a' * 16}.01234567.part"
    assert staged_for(part) == staged_for(f"{part}.attr") == part
    assert staged_for(".write-check-17") == ".write-check-17"
    assert staged_for(f"{'0a' * 16}.tombstone") is not None
    assert staged_for(f"{'0a' * 16}.deleted.part") is not None
    for foreign in ("a.part", "lost+found", f"{part}.bak", f"x{part}"):
        assert staged_for(foreign) is None


def test_names_in_quarantine_tell_their_file() -> None:
    file_id = "0a" * 16
    assert quarantined_id(f"{file_id}.data") == quarantined_id(f"{file_id}.attr.json") == file_id
    assert quarantined_id(f"{file_id}.txt") is None


@pytest.mark.parametrize(
    ("folder", "past"),
    [
        ("isos/2025", True),
        ("isos/2026", False),
        ("isos/2025/12", True),
        ("isos/2026/01", False),
        ("isos/2026/01/03", True),
        ("isos/2026/01/04", False),
        ("isos/2026/01/04/02", True),
        ("isos/2026/01/04/03", False),
        ("isos/2026/01/05/03", False),
        ("isos", False),
        ("isos/folder", False),
        ("Foreign/2025", False),
    ],
)
def test_a_folder_is_past_a_day_after_its_time(folder: str, past: bool) -> None:
    assert is_past(folder, datetime(2026, 1, 5, 3, 30, tzinfo=UTC)) is past


def test_the_exit_code_is_that_of_the_worst_finding() -> None:
    assert exit_code([]) == 0
    assert exit_code([Gravity.NOTED]) == 0
    assert exit_code([Gravity.NOTED, Gravity.MENDABLE]) == 1
    assert exit_code([Gravity.LOSS, Gravity.MENDABLE]) == 2


def test_a_finding_is_one_line_whatever_the_name_holds() -> None:
    finding = Finding(Kind.FOREIGN, "uploads/two\nlines\udcff\x1b[2J", "näh")
    assert finding.line().isprintable()
    assert "näh" in finding.line()
    assert json.loads(finding.as_json())["path"] == "uploads/two\nlines\udcff\x1b[2J"
    assert Finding(Kind.LOST, "uploads/a", "gone").line() == "LOST: uploads/a: gone"
