"""What a person sees: one line per step, with the seconds it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def step(title: str) -> Iterator[None]:
    """Name the step while it runs, and its duration once it's done."""
    live = sys.stdout.isatty()
    if live:
        print(f"  … {title}", end="", flush=True)
    start = time.monotonic()
    mark = "failed"
    try:
        yield
        mark = "ok"
    finally:
        seconds = time.monotonic() - start
        print(f"{chr(13) if live else ''}  {mark:6} {title}  {seconds:.1f} s", flush=True)


def say(line: str) -> None:
    print(line, flush=True)
