"""From users' names to paths: safe, short enough, and refused rather than repaired."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.content import extension_of
from portside.names import (
    ATTRIBUTES_SUFFIX,
    NameRefused,
    attributes_path,
    dated_path,
    name_of_dated,
    named_path,
    safe_owner,
    sanitise,
)

MOMENT = datetime(2026, 3, 1, 0, 30, 5, tzinfo=UTC)
FILE_ID = "0123456789abcdef" * 2
DIRECTORY_ENTRY = 255
"""Bytes, on ext4 and xfs."""

# Long names, dots and characters of every width are where cutting goes wrong.
NAMES = st.one_of(
    st.text(),
    st.text("ab._-İ€😀", max_size=300),
    st.builds(
        lambda stem, repeat, tail: stem * repeat + tail,
        st.text(min_size=1, max_size=5),
        st.integers(1, 300),
        st.sampled_from([".iso", ".tar.gz", ".attr.json", ".", "", "." + "x" * 40, ".İSO"]),
    ),
)


@given(NAMES)
def test_a_name_on_disk_is_safe_whatever_was_sent(name: str) -> None:
    try:
        safe = sanitise(name)
    except NameRefused:
        return
    assert not set("/\\\0\n '\"$`&;|<>*?!(){}[]#") & set(safe)
    assert not safe.startswith((".", "-"))
    assert not safe.lower().endswith(ATTRIBUTES_SUFFIX)
    assert len(safe) <= 200
    assert len(safe.encode()) <= 240
    assert len(attributes_path(named_path("isos", name)).name.encode()) <= DIRECTORY_ENTRY


@given(NAMES)
def test_a_safe_name_stays_as_it_is(name: str) -> None:
    try:
        safe = sanitise(name)
    except NameRefused:
        return
    assert sanitise(safe) == safe


@pytest.mark.parametrize("end", [".", " ", " .", "...", "\u00a0", " )"])
def test_what_hides_an_extension_at_the_end_of_a_name_goes(end: str) -> None:
    assert sanitise(f"holiday.JPG{end}") == "holiday.JPG"


@given(NAMES, st.text(max_size=128))
def test_a_dated_path_fits_its_folder_and_keeps_its_parts(name: str, owner: str) -> None:
    try:
        safe = sanitise(name)
    except NameRefused:
        return
    path = dated_path("isos", name, owner, FILE_ID, MOMENT)
    assert path.parts[:-1] == ("isos", "2026", "03", "01", "00")
    assert len(path.name) <= 200
    assert len(attributes_path(path).name.encode()) <= DIRECTORY_ENTRY
    assert f"_{safe_owner(owner)}_20260301T003005_01234567" in path.name
    if 0 < len(extension_of(safe)) <= 32:
        assert extension_of(path.name) == extension_of(safe)


@given(st.text("aé. -_", min_size=1, max_size=60), st.sampled_from(["u", "a@b", "", "Ünal"]))
def test_a_dated_path_tells_the_name_that_it_was_made_of(name: str, owner: str) -> None:
    try:
        safe = sanitise(name)
    except NameRefused:
        return
    path = dated_path("isos", name, owner, FILE_ID, MOMENT)
    assert name_of_dated(path, owner, FILE_ID, MOMENT) == safe


def test_a_path_that_is_not_dated_keeps_its_name() -> None:
    assert name_of_dated(named_path("isos", "a.iso"), "u", FILE_ID, MOMENT) == "a.iso"


@given(st.text("abc .", min_size=1, max_size=400), st.sampled_from([".iso", ".tar.gz", ".gguf"]))
def test_cutting_keeps_the_extension(stem: str, extension: str) -> None:
    assert extension_of(sanitise("x" + stem + extension)) == extension


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "..\\boot.ini",
        "/etc/passwd",
        "a/b.iso",
        "a\0.iso",
        "a\n.iso",
        "a\x1b[31m.iso",
        "\ud800.iso",
        "",
        ".",
        "..",
        "...",
        "  ",
        "_._",
        "?*",
        "x.iso.attr.json",
        "X.ATTR.JSON",
        # Only cutting brings the reserved suffix about.
        "x" * 190 + ".attr.json." + "y" * 40,
        "x" * 190 + ".attr" + "y" * 90 + ".json",
        # Only cutting leaves nothing.
        "_" * 210 + "a",
    ],
)
def test_names_that_mean_harm_or_nothing_are_refused(name: str) -> None:
    with pytest.raises(NameRefused):
        sanitise(name)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("debian-13.iso", "debian-13.iso"),
        ("My Holiday (1).JPG", "My_Holiday_1_.JPG"),
        (".bashrc.txt", "bashrc.txt"),
        ("-rf.iso", "rf.iso"),
        ("größe.iso", "größe.iso"),
        ("gro\u0308ße.iso", "größe.iso"),
        ("हिन्दी.iso", "हिन्दी.iso"),
        ("日本語.iso", "日本語.iso"),
        ("a'b\"c`d$e.iso", "a_b_c_d_e.iso"),
        ("abc\u202egpj.exe", "abc_gpj.exe"),
    ],
)
def test_names_are_kept_as_far_as_they_are_safe(name: str, safe: str) -> None:
    assert sanitise(name) == safe


@given(NAMES, st.sampled_from(["NFC", "NFD"]))
def test_a_name_is_one_name_however_its_marks_are_written(
    name: str, form: Literal["NFC", "NFD"]
) -> None:
    try:
        path = named_path("isos", name)
    except NameRefused:
        return
    assert named_path("isos", unicodedata.normalize(form, name)) == path


def test_dated_paths_are_in_utc() -> None:
    local = MOMENT.astimezone(timezone(timedelta(hours=-8)))
    assert dated_path("isos", "a.iso", "u", FILE_ID, local) == dated_path(
        "isos", "a.iso", "u", FILE_ID, MOMENT
    )


def test_the_two_layouts_look_as_documented() -> None:
    dated = dated_path("isos", "my file.tar.gz", "user@7", FILE_ID, MOMENT)
    assert str(dated) == "isos/2026/03/01/00/my_file_user-7_20260301T003005_01234567.tar.gz"
    assert str(named_path("isos", "my file.tar.gz")) == "isos/my_file.tar.gz"


@given(st.text())
def test_an_owner_in_a_name_is_never_empty_and_plain_ascii(owner: str) -> None:
    safe = safe_owner(owner)
    assert safe.isascii()
    assert 1 <= len(safe) <= 40
    assert safe.replace("-", "a").isalnum()
