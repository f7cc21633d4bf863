"""Steps of the work with their times, for who has asked for them (`telemetry.otlp`).

A span that isn't recorded still has its id, which goes into the headers of what it sends.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from portside.tracing import context, current
from portside.tracing.context import TraceContext

Value = str | int


class Kind(IntEnum):
    """Whose request it is about, by OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


@dataclass(frozen=True, slots=True)
class Span:
    """A step that is over. Times are Unix ones, in ns; `failure` is empty if it went well."""

    at: TraceContext
    parent_id: str | None
    name: str
    kind: Kind
    began: int
    ended: int
    attributes: Mapping[str, Value]
    failure: str


class Sink(Protocol):
    """Where spans go. Called in the middle of requests: it never waits and never raises."""

    def put(self, span: Span) -> None:
        """Take one."""


_sink: Sink | None = None


def record_to(sink: Sink | None) -> None:
    """From here on this process's spans are recorded; None: they aren't."""
    global _sink
    _sink = sink


def begin_trace(trace_id: str | None = None) -> TraceContext:
    """The first span of a new trace. Who comes later is asked to record if this process does."""
    return context.begin(trace_id, sampled=_sink is not None)


@dataclass(slots=True)
class Step:
    """A span under way. Only one that is ended is recorded."""

    at: TraceContext
    parent_id: str | None
    name: str
    kind: Kind
    attributes: dict[str, Value] = field(default_factory=dict)
    failure: str = ""
    # A clock that is set meanwhile makes no span longer.
    _began: int = field(default_factory=time.time_ns)
    _started: int = field(default_factory=time.monotonic_ns)

    @property
    def is_recorded(self) -> bool:
        """Whether anybody will hear of it; attributes that cost something are for these."""
        return _sink is not None and self.at.sampled

    def end(self) -> None:
        """It is over."""
        if _sink is None or not self.at.sampled:
            return
        ended = self._began + time.monotonic_ns() - self._started
        _sink.put(
            Span(
                *(self.at, self.parent_id, self.name, self.kind, self._began, ended),
                *(self.attributes, self.failure),
            )
        )


@contextmanager
def step(
    name: str,
    kind: Kind = Kind.INTERNAL,
    of: TraceContext | None = None,
    **attributes: Value,
) -> Iterator[Step]:
    """A span around a block: of `of`, else of the current one; without any, of a new trace.

    In the block it is the current one. What is raised is its failure.
    """
    parent = of or current.current()
    at = begin_trace() if parent is None else parent.child()
    taken = Step(at, None if parent is None else parent.span_id, name, kind, attributes)
    try:
        with current.within(at):
            yield taken
    except Exception as error:
        taken.failure = taken.failure or str(getattr(error, "slug", type(error).__name__))
        raise
    finally:
        taken.end()
