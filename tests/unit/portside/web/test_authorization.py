"""The token of an Authorization header."""

from __future__ import annotations

import pytest

from portside.web.authorization import bearer


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER abc", "abc"),
        ("Basic abc", None),
        ("Bearer", None),
        ("Bearer  ", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_the_token_is_what_stands_behind_the_scheme(header: str | None, token: str | None) -> None:
    assert bearer(header) == token
