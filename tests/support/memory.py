"""How much memory something takes in this process."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable


def peak_memory(work: Callable[[], object]) -> int:
    """The most bytes that Python held at once for `work`, which is done twice.

    The lesser one counts: in any of them the interpreter may enlarge its table of interned strings,
    which is megabytes at once, and never in two of them that intern the same.
    """
    return min(_measured(work) for _ in range(2))


def _measured(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
