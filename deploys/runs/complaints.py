"""What pyinfra said of each host as an error: the reason, for a host's last line in the summary.

pyinfra keeps the output of commands, but not why a connection failed or was lost, nor why a fact
couldn't be read. Its log has all of it, each line with its host in front.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_OF_A_HOST = re.compile(r"\s*\[(?P<host>[^\]]+)\]\s+(?:nested\s+)?(?P<said>.*)", re.DOTALL)


class Complaints(logging.Handler):
    """Keeps the errors in pyinfra's log by host, as plain text."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.by_host: dict[str, list[str]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line that is about a host."""
        found = _OF_A_HOST.fullmatch(_COLOURS.sub("", record.getMessage()))
        if found and found["said"].strip():
            self.by_host[found["host"]].append(found["said"].strip())


complaints = Complaints()
"""Those of this process's run."""
