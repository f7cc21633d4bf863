"""Fields that many messages share: what passes, and what doesn't."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from portside.wire import fields


@pytest.mark.parametrize(
    ("field", "taken", "refused"),
    [
        (fields.Owner, ["user-7", "Zoë Ångström", "x" * 128], ["", "a\nb", "\x7f", "x" * 129]),
        (fields.Namespace, ["files", "a_b-c", "0" * 64], ["", "*", "-a", "A", "a/b", "a" * 65]),
        (fields.NodeId, ["s01", "a-b", "a" * 63], ["", "-a", "a-", "S01", "a.b", "a" * 64]),
        (fields.Region, ["eu-central-1", "x" * 32], ["", "EU", "a_b", "x" * 33]),
        (fields.MediaType, ["image/svg+xml"], ["image", "image/*", "text/plain; x=1", "é/x"]),
        (fields.MediaRange, ["image/*", "image/png"], ["*/*", "*"]),
        (fields.FileId, ["0123456789abcdef" * 2], ["0" * 31, "A" * 32, "0" * 32 + "\n"]),
    ],
)
def test_a_field_takes_what_its_pattern_says(
    field: Any, taken: list[str], refused: list[str]
) -> None:
    adapter = TypeAdapter(field)
    assert [adapter.validate_python(text) for text in taken] == taken
    for text in refused:
        with pytest.raises(ValidationError):
            adapter.validate_python(text)
