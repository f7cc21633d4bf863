"""How much counters rose in a window of time, and how fast a disk fills. Pure.

Counters begin at zero with each start of an agent, and samples may be missing: what was counted
between the last one before a restart and the restart isn't seen, as with Prometheus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from control.alerts.readings import Sample


def since(samples: Sequence[Sample], begin: datetime) -> Sequence[Sample]:
    """Those of the window, and the last one before it, from which the rise begins."""
    inside = [each for each in samples if each.at >= begin]
    before = [each for each in samples if each.at < begin]
    return [*before[-1:], *inside]


def rise(samples: Sequence[Sample], count: Callable[[Sample], int | None]) -> int:
    """By how much a counter rose from the first to the last of them."""
    told = [value for value in map(count, samples) if value is not None]
    return sum(after - before if after >= before else after for before, after in pairwise(told))


def seconds_until_full(
    samples: Sequence[Sample], room: int, over: int, now: datetime
) -> float | None:
    """When `room` bytes are gone if the disk fills on as in the last `over` seconds.

    None where it doesn't get fuller, or wasn't watched for nine tenths of that time.
    """
    seen = since(samples, now - timedelta(seconds=over))
    if len(seen) < 2:
        return None
    first, last = seen[0], seen[-1]
    watched = (last.at - first.at).total_seconds()
    taken = first.disk_free - last.disk_free
    if taken <= 0 or watched < 0.9 * over:
        return None
    return max(0, room) * watched / taken
