"""Whether a browser shows a file or saves it, and under which name."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from agent.api.files import disposition
from portside.wire.files import StoredFile


def _file(name: str, content_type: str) -> StoredFile:
    return StoredFile(
        file_id="0" * 32,
        node_id="s01",
        namespace="ns",
        owner="me",
        name=name,
        path=PurePosixPath("ns", name),
        url="https://s01.portside.test/uploads/ns/x",
        size=1,
        sha256="0" * 64,
        content_type=content_type,
        committed_at=datetime.now(UTC),
        receipt="r",
    )


@pytest.mark.parametrize(
    ("name", "content_type", "way"),
    [
        ("a.png", "image/png", "inline"),
        ("a.mp4", "video/mp4", "inline"),
        ("a.pdf", "application/pdf", "inline"),
        ("a.txt", "text/plain", "inline"),
        ("a.iso", "application/x-iso9660-image", "attachment"),
        ("a.svg", "image/svg+xml", "attachment"),
        ("a.SVG", "image/png", "attachment"),
        # What a token calls a file is not what its name says.
        ("a.png", "image/SVG+xml", "attachment"),
        ("a.txt", "text/html", "attachment"),
        ("a.bin", "application/xhtml+xml", "attachment"),
        ("a.html", "text/plain", "attachment"),
    ],
)
def test_what_a_browser_could_run_is_saved(name: str, content_type: str, way: str) -> None:
    assert disposition(_file(name, content_type)).partition(";")[0] == way


def test_a_name_can_not_break_out_of_its_header() -> None:
    value = disposition(_file('ü";x=\\\r\nSet-Cookie: a', "image/png"))
    assert value.isascii()
    assert value.isprintable()
    assert value.startswith('inline; filename="__;x=___Set-Cookie: a"; ')
    assert value.count('"') == 2
