"""What is uploaded covers every size and is the same for the same seed."""

from __future__ import annotations

import hashlib
from random import Random

import pytest

from faults.checking.content import LARGEST, Content, Contents, any_size
from portside.quantities import MIB

CONTENT = Content(memoryview(bytes(range(200))), start=10, size=101)


def test_sizes_are_empty_small_and_large_and_never_too_large() -> None:
    sizes = [any_size(Random(number)) for number in range(2000)]  # noqa: S311 (repeatable)
    assert min(sizes) == 0
    assert max(sizes) <= LARGEST
    assert any(0 < size < 100 for size in sizes)
    assert any(size > 20 * MIB for size in sizes)


def test_some_sizes_are_whole_blocks_and_most_are_not() -> None:
    sizes = [any_size(Random(number)) for number in range(2000)]  # noqa: S311 (repeatable)
    whole = sum(size > 0 and size % 4096 == 0 for size in sizes)
    assert 100 < whole < 800


def test_content_is_the_slice_and_its_digest() -> None:
    assert bytes(CONTENT.data) == bytes(range(10, 111))
    assert CONTENT.sha256 == hashlib.sha256(bytes(range(10, 111))).hexdigest()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_together_are_the_whole(count: int) -> None:
    parts = CONTENT.split(count)
    assert len(parts) == count
    assert b"".join(part.data for part in parts) == bytes(CONTENT.data)


def test_the_same_seed_makes_the_same_content() -> None:
    first, second, other = Contents("a"), Contents("a"), Contents("b")
    made = [first.next().sha256 for _ in range(5)]
    assert made == [second.next().sha256 for _ in range(5)]
    assert made != [other.next().sha256 for _ in range(5)]
