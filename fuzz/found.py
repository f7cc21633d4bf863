"""What was found once: each request once had a 5xx, HTML, no answer, or a log line of no use."""

from __future__ import annotations

from collections.abc import Iterator

from fuzz.exchange import Sent
from fuzz.place import Place


def requests(place: Place) -> Iterator[Sent]:
    """All of them, to the side that they were found on."""
    yield from ()
