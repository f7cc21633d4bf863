"""Which kinds of file are taken, told by their extensions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.content import (
    DEFAULT_EXTENSIONS,
    SCRIPT_EXTENSIONS,
    extension_of,
    is_allowed,
    normal_extension,
    split_extension,
    why_refused,
)


def test_nothing_a_browser_would_run_is_taken_by_default() -> None:
    assert not SCRIPT_EXTENSIONS & set(DEFAULT_EXTENSIONS)
    assert {".svg", ".html", ".htm", ".xhtml", ".xml", ".js"} <= SCRIPT_EXTENSIONS


def test_the_default_extensions_are_written_the_normal_way() -> None:
    assert [normal_extension(each) for each in DEFAULT_EXTENSIONS] == list(DEFAULT_EXTENSIONS)


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.iso", ".iso"),
        ("A.ISO", ".iso"),
        ("a.b.iso", ".iso"),
        ("a.tar.gz", ".tar.gz"),
        ("A.TAR.GZ", ".tar.gz"),
        ("tar.gz", ".gz"),
        (".tar.gz", ".gz"),
        ("a", ""),
        (".hidden", ""),
        ("a.", ""),
        ("", ""),
    ],
)
def test_the_extension_of_a_name(name: str, extension: str) -> None:
    assert extension_of(name) == extension


@given(st.text())
def test_stem_and_extension_are_the_name(name: str) -> None:
    assert "".join(split_extension(name)) == name


@pytest.mark.parametrize("written", ["iso", ".iso", ".ISO", " iso "])
def test_extensions_may_be_written_in_several_ways(written: str) -> None:
    assert normal_extension(written) == ".iso"


@pytest.mark.parametrize("written", ["", ".", "a/b", "i so", ".is\no", "ä", "a.b.c"])
def test_what_is_no_extension_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="is no file extension"):
        normal_extension(written)


def test_a_compound_extension_counts_as_its_last_part() -> None:
    assert is_allowed(".tar.gz", (".gz",))
    assert is_allowed(".tar.gz", (".tar.gz",))
    assert not is_allowed(".tar.gz", (".tar",))
    assert not is_allowed("", (".gz",))
    assert not is_allowed(".svg", DEFAULT_EXTENSIONS)


@pytest.mark.parametrize(
    ("extension", "seen", "to_do"),
    [
        ("", "has no extension", "report.pdf"),
        (".exe", "ending in .exe", "in an archive"),
        (".html", "a browser may run", "in an archive"),
        (".part", "ending in .part", "name the file after what it holds"),
    ],
)
def test_a_refused_extension_is_told_with_what_is_taken_and_what_to_do(
    extension: str, seen: str, to_do: str
) -> None:
    told = why_refused(extension, (".iso", ".tar.gz"))
    assert seen in told
    assert to_do in told
    assert told.endswith("taken are .iso, .tar.gz")
