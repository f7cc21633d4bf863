"""Digests on the wire, as RFC 9530 writes them."""

from __future__ import annotations

import contextlib
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.digest import DigestRefused, format_repr_digest, parse_repr_digest

# The SHA-256 of RFC 9530's example body, appendix B.1: {"hello": "world"} and a newline.
EXAMPLE = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_the_rfcs_example_is_read() -> None:
    assert parse_repr_digest(EXAMPLE) == hashlib.sha256(b'{"hello": "world"}\n').hexdigest()


@given(st.binary())
def test_what_is_written_can_be_read(content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    assert parse_repr_digest(format_repr_digest(digest)) == digest


def test_sha_256_is_found_among_others() -> None:
    field = f"sha-512=:{'A' * 86}==:, {EXAMPLE}"
    assert parse_repr_digest(field) == parse_repr_digest(EXAMPLE)


@pytest.mark.parametrize(
    "field",
    [
        "",
        "sha-256=abc",
        "sha-512=:AAAA:",
        "sha-256=:AAAA:",
        "xsha-256" + EXAMPLE[7:],
        EXAMPLE + "x",
        EXAMPLE[:-1],
    ],
)
def test_a_digest_that_cant_be_read_is_refused_never_ignored(field: str) -> None:
    with pytest.raises(DigestRefused):
        parse_repr_digest(field)


@given(st.text())
def test_junk_raises_nothing_but_refusals(field: str) -> None:
    with contextlib.suppress(DigestRefused):
        assert len(parse_repr_digest(field)) == 64
