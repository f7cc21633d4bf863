"""Which span this thread works on: lines that are logged meanwhile have its trace's id, requests
that are sent have its headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from portside.tracing.context import TraceContext, parse_text

_current: ContextVar[TraceContext | None] = ContextVar("trace", default=None)


def current() -> TraceContext | None:
    """The span that this thread works on."""
    return _current.get()


def take_up(context: TraceContext) -> None:
    """Work on this span until the next is taken up, as a thread does with its requests."""
    _current.set(context)


@contextmanager
def within(context: TraceContext) -> Iterator[None]:
    """Work on this span in the block."""
    before = _current.set(context)
    try:
        yield
    finally:
        _current.reset(before)


def to_keep() -> str | None:
    """What is written down of the current span, for work that is done later because of it."""
    context = _current.get()
    return None if context is None else context.text


def kept(text: str | None) -> TraceContext | None:
    """The span that work was written down with; None where there was none."""
    return None if text is None else parse_text(text)


def headers() -> dict[str, str]:
    """What a request carries that is sent on behalf of the current span."""
    context = _current.get()
    return {} if context is None else context.headers


def environment() -> dict[str, str]:
    """The same for a command that is run."""
    return {name.upper(): value for name, value in headers().items()}
