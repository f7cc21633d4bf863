"""Base64url without padding: what goes in comes out, and nothing else is taken for it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside import base64url


@given(st.binary(max_size=64))
def test_bytes_come_back(data: bytes) -> None:
    text = base64url.encode(data)
    assert re.fullmatch("[A-Za-z0-9_-]*", text)
    assert base64url.decode(text) == data


@pytest.mark.parametrize("text", ["A", "AAAAA", "ä"])
def test_what_is_no_base64url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"base64url|ASCII"):
        base64url.decode(text)
