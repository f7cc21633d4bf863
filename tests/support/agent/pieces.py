"""A request's body for tests of what reads one."""

from __future__ import annotations


class Pieces:
    """A body that is there already (see agent.incoming.body.Body)."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def fill(self, buffer: memoryview) -> int:
        """As much as there is room for."""
        taken = self._data[: len(buffer)]
        buffer[: len(taken)] = taken
        self._data = self._data[len(taken) :]
        return len(taken)
