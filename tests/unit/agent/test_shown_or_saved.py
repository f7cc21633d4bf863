"""What a browser may run is saved, not shown, in the agent's rule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from agent.api.files import disposition
from portside.wire.files import StoredFile


@pytest.mark.parametrize(
    "kind",
    ["image/svg+xml", "IMAGE/SVG+XML", "image/svg+xml; charset=utf-8", "image/x-other+xml"],
)
def test_any_xml_picture_is_saved(kind: str) -> None:
    stored = cast(StoredFile, SimpleNamespace(content_type=kind, name="picture"))
    assert disposition(stored).startswith("attachment;")


def test_a_picture_is_shown() -> None:
    stored = cast(StoredFile, SimpleNamespace(content_type="image/png", name="picture.png"))
    assert disposition(stored).startswith("inline;")
