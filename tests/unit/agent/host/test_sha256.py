"""The digest is hashlib's, whatever is saved and restored on the way."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.host.sha256 import Sha256


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_a_digest_saved_and_restored_between_any_two_pieces_is_the_digest_of_all(
    pieces: list[bytes],
) -> None:
    digest = Sha256()
    for piece in pieces:
        digest = Sha256.from_state(digest.state())
        digest.update(piece)
    assert digest.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_asking_for_the_digest_does_not_end_it() -> None:
    digest = Sha256()
    digest.update(b"first")
    assert digest.hexdigest() == hashlib.sha256(b"first").hexdigest()
    digest.update(memoryview(bytearray(b" second")))
    assert digest.hexdigest() == hashlib.sha256(b"first second").hexdigest()


def test_a_state_is_not_changed_by_what_follows() -> None:
    digest = Sha256()
    digest.update(b"first")
    state = digest.state()
    digest.update(b" second")
    assert Sha256.from_state(state).hexdigest() == hashlib.sha256(b"first").hexdigest()


def test_what_is_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match="112 bytes"):
        Sha256.from_state(b"short")
