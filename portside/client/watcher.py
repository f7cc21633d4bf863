"""Hearing how an upload goes: what a display, or a program of one's own, may want to know."""

from __future__ import annotations

from portside.client.http.errors import NodeUnavailable


class Watcher:
    """Called while an upload runs, from any thread, one at a time. This one does nothing."""

    def sent(self, count: int) -> None:
        """`count` bytes of the file have been sent so far."""

    def back_at(self, count: int) -> None:
        """The node holds `count` bytes: the upload goes on from there, back or ahead."""

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        """The upload stands still for `reason`; the next attempt is in `seconds`."""

    def say(self, text: str) -> None:
        """Something happened that is worth a line."""
