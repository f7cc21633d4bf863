"""traceparent and tracestate: what is read, what is passed on, and what begins a new trace."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portside.tracing.context import LONGEST_STATE, MOST_MEMBERS, begin, parse, parse_text

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01"


def _hex(digits: int) -> st.SearchStrategy[str]:
    return st.text("0123456789abcdef", min_size=digits, max_size=digits)


ids = st.tuples(
    _hex(32).filter(lambda each: each.strip("0")), _hex(16).filter(lambda each: each.strip("0"))
)
flags = st.integers(0, 255)
keys = st.from_regex(r"[a-z][a-z0-9_*/-]{0,20}(@[a-z][a-z0-9]{0,13})?", fullmatch=True)
values = st.text(
    "".join(each for each in map(chr, range(0x20, 0x7F)) if each not in ",="), min_size=1
).filter(lambda value: not value.endswith(" ") and len(value) <= 256)
states = (
    st.dictionaries(keys, values, min_size=1, max_size=MOST_MEMBERS)
    .map(lambda members: ",".join(f"{key}={value}" for key, value in members.items()))
    .filter(lambda state: len(state) <= LONGEST_STATE)
)


@given(ids, flags)
def test_what_the_recommendation_allows_is_read_as_it_is(sent: tuple[str, str], flag: int) -> None:
    found = parse(f"00-{sent[0]}-{sent[1]}-{flag:02x}")
    assert found is not None
    assert (found.trace_id, found.span_id, found.sampled) == (*sent, bool(flag & 1))


@given(st.text(max_size=80))
def test_any_text_is_read_or_begins_a_new_trace_and_never_fails(text: str) -> None:
    found = parse(text, text)
    if found is not None:
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", found.traceparent)


@given(st.integers(0, len(SENT) - 1), st.sampled_from(string.printable))
def test_one_wrong_character_makes_it_none_or_another_right_one(place: int, other: str) -> None:
    changed = SENT[:place] + other + SENT[place + 1 :]
    right = re.fullmatch(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", changed)
    assert (parse(changed) is not None) == (right is not None and changed[:2] != "ff")


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        SENT.upper(),
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-01-",
        f"00-{TRACE}-{SPAN}-1",
        f"ff-{TRACE}-{SPAN}-01",
        f"{SENT}, {SENT}",
        f" {SENT}",
        f"{SENT}\n",
        f"01-{TRACE}-{SPAN}-01more",
        f"01-{TRACE}-{SPAN}",
    ],
)
def test_what_is_no_traceparent_is_passed_over(wrong: str) -> None:
    assert parse(wrong, "a=1") is None


@pytest.mark.parametrize("behind", ["", "-", "-what-is-yet-to-come"])
def test_of_a_later_version_is_read_what_this_one_has_and_passed_on_as_this_one(
    behind: str,
) -> None:
    found = parse(f"cc-{TRACE}-{SPAN}-01{behind}")
    assert found is not None
    assert found.traceparent == SENT


@given(ids, states)
def test_a_tracestate_within_its_limits_is_passed_on_untouched(
    sent: tuple[str, str], state: str
) -> None:
    found = parse(f"00-{sent[0]}-{sent[1]}-01", state)
    assert found is not None
    assert found.child().headers["tracestate"] == state


@pytest.mark.parametrize(
    "state",
    [
        "a=" + "x" * (LONGEST_STATE - 1),
        ",".join(f"k{number}=1" for number in range(MOST_MEMBERS + 1)),
        "a=1,a=2",
        "A=1",
        "a=1,b",
        "a=b=c",
        "a=",
        "a=\u00e9",
        "a=1\r\nX-Injected: 1",
        "",
        ",,",
    ],
)
def test_a_tracestate_beyond_them_is_dropped_and_the_trace_goes_on(state: str) -> None:
    found = parse(SENT, state)
    assert found is not None
    assert found.headers == {"traceparent": SENT}


def test_the_longest_tracestate_and_the_most_members_are_passed_on() -> None:
    longest = ",".join(f"k{number}={'x' * 20}" for number in range(20))[:LONGEST_STATE]
    most = ",".join(f"k{number}=1" for number in range(MOST_MEMBERS))
    for state in (longest, most, "a=1,,b=2", "fw529a3039@dt=1 2", "a=1 , b=2"):
        found = parse(SENT, state)
        assert found is not None
        assert found.state == state


@given(ids, states, st.booleans())
def test_what_is_written_down_is_read_again(
    sent: tuple[str, str], state: str, sampled: bool
) -> None:
    for with_state in (state, ""):
        found = parse(f"00-{sent[0]}-{sent[1]}-{int(sampled):02x}", with_state)
        assert found is not None
        assert parse_text(found.text) == found


def test_children_share_the_trace_and_nothing_else_is_ever_the_same() -> None:
    first = begin()
    made = {first.span_id, *(first.child().span_id for _ in range(1000))}
    assert len(made) == 1001
    assert {first.child().trace_id for _ in range(10)} == {first.trace_id}
    assert begin().trace_id != first.trace_id
    assert parse(first.traceparent) == first
