"""What is sealed is opened whole, by the same key and as the same thing, or not at all."""

from __future__ import annotations

import os
from io import BytesIO

import pytest

from portside.backup.sealing import Seal, SealBroken, new_key

CHUNK = 1 << 20
CONTEXT = "lab/database"


def _sealed(seal: Seal, text: bytes) -> bytes:
    return b"".join(seal.seal(BytesIO(text), CONTEXT))


def _opened(seal: Seal, sealed: bytes, context: str = CONTEXT) -> bytes:
    return b"".join(seal.open(BytesIO(sealed), context))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_is_sealed_is_opened_again(size: int) -> None:
    seal, text = Seal.of_key(new_key()), os.urandom(size)
    assert _opened(seal, _sealed(seal, text)) == text


def test_a_text_that_was_cut_reordered_or_changed_is_not_opened() -> None:
    seal, text = Seal.of_key(new_key()), os.urandom(3 * CHUNK)
    sealed = _sealed(seal, text)
    whole = CHUNK + 16
    one, two = sealed[32 : 32 + whole], sealed[32 + whole : 32 + 2 * whole]
    for broken in (
        sealed[: 32 + whole],
        sealed[: 32 + 2 * whole],
        sealed[:-1],
        sealed[:32],
        b"",
        sealed[:32] + two + one + sealed[32 + 2 * whole :],
        sealed[:100] + bytes([sealed[100] ^ 1]) + sealed[101:],
        sealed + b"x",
    ):
        with pytest.raises(SealBroken):
            _opened(seal, broken)


def test_another_key_or_another_thing_of_the_same_key_is_not_opened() -> None:
    seal = Seal.of_key(new_key())
    sealed = _sealed(seal, b"text")
    with pytest.raises(SealBroken, match="key is another one"):
        _opened(Seal.of_key(new_key()), sealed)
    with pytest.raises(SealBroken):
        _opened(seal, sealed, "lab/secrets")


def test_a_passphrase_opens_what_it_sealed_and_another_does_not() -> None:
    seal = Seal.of_passphrase("correct horse battery")
    sealed = _sealed(seal, b"text")
    assert _opened(Seal.of_passphrase("correct horse battery"), sealed) == b"text"
    with pytest.raises(SealBroken, match="passphrase is another one"):
        _opened(Seal.of_passphrase("correct horse Battery"), sealed)
    with pytest.raises(ValueError, match="at least 12"):
        Seal.of_passphrase("too short")


@pytest.mark.parametrize("text", ["", "abc", "!" * 43])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"bytes and should have|base64url"):
        Seal.of_key(text)
