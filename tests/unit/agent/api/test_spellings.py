"""Which paths a URL may mean that isn't written as its file is stored."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest

from agent.api.spellings import is_storable, spellings

NAME = "größe_1_.txt"
PATH = f"isos/2026/11/30/02/{NAME}"
DECOMPOSED = unicodedata.normalize("NFD", PATH)


@pytest.mark.parametrize(
    "uri",
    [
        pytest.param(f"/uploads/{quote(DECOMPOSED)}", id="NFD, as macOS has names"),
        pytest.param(f"/uploads/{quote(PATH)}?token=x#y", id="with a query"),
        pytest.param(f"/uploads/{quote(quote(PATH))}", id="encoded twice"),
        pytest.param(f"/uploads/{PATH.encode().decode('latin-1')}", id="not encoded"),
        pytest.param(f"/uploads/{quote(PATH.replace('_1_', ' (1)'))}", id="the name as it was"),
        pytest.param(f"/uploads/{quote(PATH)}/", id="a slash at the end"),
        pytest.param(f"//uploads//{quote(PATH)}".replace("/2026/", "//2026/"), id="two slashes"),
    ],
)
def test_what_a_url_means_is_among_its_spellings(uri: str) -> None:
    assert PATH in spellings(uri)


def test_a_plus_may_stand_for_a_space_and_for_itself() -> None:
    assert spellings("/uploads/isos/a+b.bin") == ("isos/a+b.bin", "isos/a_b.bin")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/",
        "/uploads",
        "/uploads/isos",
        "/elsewhere/isos/a.bin",
        "/uploads/isos/../private/a.bin",
        "/uploads/isos/%2e%2e/private/a.bin",
        "/uploads/isos/%252e%252e/private/a.bin",
        "/uploads/isos/a.bin%00",
        "/uploads/isos/%ff",
        "/uploads/isos/\u20ac",
        "/uploads/isos/a.bin.attr.json",
    ],
)
def test_what_is_no_files_url_means_nothing(uri: str) -> None:
    assert not {"private/a.bin", "isos/a.bin"} & set(spellings(uri))
    assert not any(".attr.json" in each or ".." in each for each in spellings(uri))


@pytest.mark.parametrize(
    ("path", "storable"),
    [(PATH, True), ("isos/a+b.bin", True), ("isos/a b.bin", False), (DECOMPOSED, False)],
)
def test_a_path_at_which_a_file_may_lie_is_told_from_one_at_which_none_can(
    path: str, storable: bool
) -> None:
    assert is_storable(path) == storable
