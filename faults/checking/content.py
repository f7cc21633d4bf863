"""What is uploaded: slices of one pool of random bytes, so that content costs no time to make."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from random import Random

from portside.quantities import KIB, MIB

LARGEST = 40 * MIB

_POOL = 64 * MIB
_BLOCK = 4 * KIB


@dataclass(frozen=True)
class Content:
    """The bytes of one file, or of one part of it."""

    pool: memoryview
    start: int
    size: int

    @property
    def data(self) -> memoryview:
        """The bytes themselves; nothing is copied."""
        return self.pool[self.start : self.start + self.size]

    @cached_property
    def sha256(self) -> str:
        """The hex digest."""
        return hashlib.sha256(self.data).hexdigest()

    def part(self, start: int, end: int) -> Content:
        """The bytes from `start` up to `end`."""
        return Content(self.pool, self.start + start, end - start)

    def split(self, count: int) -> list[Content]:
        """`count` parts that together are the whole; the last one is the longest."""
        length = self.size // count
        ends = [length * number for number in range(1, count)] + [self.size]
        return [self.part(start, end) for start, end in zip([0, *ends], ends, strict=False)]


class Contents:
    """Makes content of mixed sizes: the same for the same seed."""

    def __init__(self, seed: str, largest: int = LARGEST) -> None:
        self._random = Random(seed)  # noqa: S311 (repeatable, not secret)
        self._pool = memoryview(self._random.randbytes(_POOL))
        self._largest = largest

    def next(self) -> Content:
        """Another file's content. Not thread-safe."""
        size = any_size(self._random, self._largest)
        return Content(self._pool, self._random.randrange(_POOL - size + 1), size)


def any_size(random: Random, largest: int = LARGEST) -> int:
    """0 B to `largest`, small sizes as likely as large ones, a quarter of them whole blocks.

    Whole blocks matter: a file's odd end is written through the page cache, the rest past it.
    """
    if random.random() < 0.04:
        return 0
    size = int(math.exp(random.uniform(0, math.log(largest))))
    if random.random() < 0.25:
        size = size // _BLOCK * _BLOCK
    return size
