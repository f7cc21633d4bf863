"""Paths from elsewhere: none leads out of an export's folder, hides, or takes another's place."""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.client.export.places import Places, beside, wanted_path
from portside.client.http.errors import LocalFileError
from portside.wire.control import FileView
from tests.support.client.control_double import file_view


def view(path: str, content: bytes = b"x", number: int = 1) -> FileView:
    digest = hashlib.sha256(content).hexdigest()
    changed = {"path": PurePosixPath(path), "sha256": digest, "size": len(content)}
    return file_view(f"{number:032x}").model_copy(update=changed)


def path_of(places: Places, file: FileView) -> tuple[PurePosixPath, bool]:
    return places.of(file, places.take(file))


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_path_leads_out_or_hides_or_moves_a_cursor(folder: str, name: str) -> None:
    path = wanted_path(view("x").model_copy(update={"path": PurePosixPath(folder, name)}))
    for each in (path, beside(path, view("x"))):
        assert not each.is_absolute()
        assert 2 <= len(each.parts) <= 8
        for part in each.parts:
            assert part.isprintable() and part[0] not in ".~" and "/" not in part
            assert len(part.encode()) <= 255


def test_an_ordinary_path_stays_as_it_is() -> None:
    ordinary = "isos/2026/12/01/03/größe_alice_20261201T030000_0123abcd.tar.gz"
    assert str(wanted_path(view(ordinary))) == ordinary
    assert beside(PurePosixPath("a/b.tar.gz"), view("x")).name == f"b~{'0' * 12}.tar.gz"


def test_two_files_with_one_path_get_one_each_also_where_a_disk_knows_no_capitals(
    tmp_path: Path,
) -> None:
    places = Places(tmp_path)
    first, _ = path_of(places, view("ns/a.txt", number=1))
    second, _ = path_of(places, view("ns/A.txt", number=2))
    assert str(first) == "ns/a.txt"
    assert second.name.startswith("A~")


def test_whose_turn_was_first_in_the_listing_has_the_plain_name_whoever_is_quicker(
    tmp_path: Path,
) -> None:
    places = Places(tmp_path)
    first, second = view("ns/a.txt", number=1), view("ns/a.txt", number=2)
    first_paths, second_paths = places.take(first), places.take(second)
    assert places.of(second, second_paths)[0].name.startswith("a~")
    assert places.of(first, first_paths)[0].name == "a.txt"


def test_what_is_there_with_its_content_is_known_and_another_content_is_left_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "a.txt").write_bytes(b"x")
    assert path_of(Places(tmp_path), view("ns/a.txt")) == (PurePosixPath("ns/a.txt"), True)
    path, is_there = path_of(Places(tmp_path), view("ns/a.txt", b"other"))
    assert (path.name[:2], is_there) == ("a~", False)


def test_a_folder_that_is_a_link_out_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "ns").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(LocalFileError, match="leads out"):
        path_of(Places(tmp_path / "out"), view("ns/a.txt"))


def test_a_file_of_the_same_size_and_other_content_is_no_export(tmp_path: Path) -> None:
    (tmp_path / "ns").mkdir()
    (tmp_path / "ns" / "a.txt").write_bytes(b"y")
    path, is_there = path_of(Places(tmp_path), view("ns/a.txt", b"x"))
    assert (path.name[:2], is_there) == ("a~", False)
