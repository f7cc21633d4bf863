"""The digest over a set of files: whatever the order, whatever came and went in between."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from portside.inventory import EMPTY, toggled

FILE_IDS = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), unique=True)


@given(FILE_IDS, st.randoms())
def test_the_order_does_not_matter(file_ids: list[str], random: object) -> None:
    shuffled = sorted(file_ids, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert toggled(EMPTY, shuffled) == toggled(EMPTY, file_ids)


@given(FILE_IDS, FILE_IDS)
def test_what_came_and_went_leaves_no_trace(stay: list[str], go: list[str]) -> None:
    assert toggled(toggled(EMPTY, go + stay), go) == toggled(EMPTY, stay)


@given(FILE_IDS, FILE_IDS)
def test_other_files_give_another_digest(some: list[str], others: list[str]) -> None:
    same = set(some) == set(others)
    assert (toggled(EMPTY, some) == toggled(EMPTY, others)) == same


def test_file_ids_that_are_counted_up_are_told_apart() -> None:
    # Their plain exclusive or is the same: 1 ^ 2 = 4 ^ 7.
    one, other = ([f"{number:032x}" for number in pair] for pair in ((1, 2), (4, 7)))
    assert toggled(EMPTY, one) != toggled(EMPTY, other)
