"""The headers `traceparent` and `tracestate`, as W3C's recommendation of 2021 has them. Pure.

Whoever sends a request says which trace it belongs to, and which span (one step of the work) sent
it. What can't be read is passed over, and a new trace begins: a header that is for finding things
in logs never fails a request. (w3.org/TR/trace-context-1, sections 3.2, 3.3 and 4)
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, replace

LONGEST_STATE = 512
"""Characters of a tracestate that are passed on; the recommendation asks for as many at least."""

MOST_MEMBERS = 32
"""Of a tracestate."""

_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?",
    re.DOTALL,
)

_KEY = r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
# Visible ASCII and spaces without comma and equals sign; no space at the end.
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})={_VALUE}")

_SAMPLED = 0x01


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A place in a trace. Ids are lower-case hex, of 32 and of 16 digits, never all zero.

    `sampled` asks whoever comes later to record its part. `state` is what others along the way have
    written for themselves.
    """

    trace_id: str
    span_id: str
    sampled: bool = False
    state: str = ""

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return replace(self, span_id=_span_id())

    @property
    def traceparent(self) -> str:
        """The header's value. Flags that this version doesn't know are never set."""
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries that this span sends."""
        state = {"tracestate": self.state} if self.state else {}
        return {"traceparent": self.traceparent, **state}

    @property
    def text(self) -> str:
        """Both headers in one line, to be kept: `parse_text` reads it."""
        return f"{self.traceparent} {self.state}".rstrip()


def begin(trace_id: str | None = None, sampled: bool = False) -> TraceContext:
    """The first span of a new trace; `trace_id` are 32 hex digits that nobody has used so far."""
    # Sixteen zeros come up once in 2**64.
    return TraceContext(trace_id or secrets.token_hex(16), _span_id(), sampled)


def parse(traceparent: str, tracestate: str = "") -> TraceContext | None:
    """The sender's span; None for what is no traceparent.

    Of a later version what this one has is read, and nothing else (section 4.3, "Versioning").
    """
    found = _TRACEPARENT.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5] is not None):
        return None
    return TraceContext(found[2], found[3], bool(int(found[4], 16) & _SAMPLED), _kept(tracestate))


def parse_text(text: str) -> TraceContext | None:
    """What `TraceContext.text` has written; None for anything else."""
    traceparent, _, state = text.partition(" ")
    return parse(traceparent, state)


def _kept(tracestate: str) -> str:
    """As it came; nothing of one that is too long, has too many members or one that is none."""
    if len(tracestate) > LONGEST_STATE:
        return ""
    members = [each.strip(" \t") for each in tracestate.split(",")]
    # Members may be empty (section 3.3.1.1).
    found = [_MEMBER.fullmatch(each) for each in members if each]
    keys = {each[1] for each in found if each is not None}
    # Fewer keys than members: one of these is no member, or has a key twice.
    if not found or len(found) > MOST_MEMBERS or len(keys) < len(found):
        return ""
    return tracestate


def _span_id() -> str:
    return secrets.token_hex(8)
