"""What pyinfra said of each host as an error: the reason, for a host's last line in the summary.

pyinfra keeps the output of commands, but not why a connection failed or was lost, nor why a fact
couldn't be read. Its log has all of it, most lines with their host in front.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict

from pyinfra.context import ctx_host

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OF_A_HOST = re.compile(r"\s*\[(?P<host>[^\]]+)\]\s+(?:nested\s+)?(?P<said>.*)", re.DOTALL)


class Complaints(logging.Handler):
    """Keeps the errors in pyinfra's log by host, as plain text."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.by_host: dict[str, list[str]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line that is about a host."""
        text = _COLOURS.sub("", record.getMessage())
        found = _OF_A_HOST.fullmatch(text)
        # Of a file that didn't arrive it doesn't say where; each host has its own greenlet, though.
        here = ctx_host.get()  # type: ignore[no-untyped-call]
        host = found["host"] if found else here.name if here is not None else None
        if host is not None:
            lines = (found["said"] if found else text).splitlines()
            self.by_host[host] += [line.strip() for line in lines if line.strip()]


complaints = Complaints()
"""Those of this process's run."""
