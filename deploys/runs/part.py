"""A host's part of a run, from a look at its login to what it is left with: every entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deploys.runs.connection import notice_when_lost
from deploys.runs.lock import hold
from deploys.runs.login import check_login
from deploys.runs.trouble import contained


@contextmanager
def one_hosts_part() -> Iterator[None]:
    """What is done to the host that pyinfra is preparing: by one run at a time, apart from others.

    What it is refused for ends its own part; see `contained`.
    """
    with contained():
        notice_when_lost()
        check_login()
        hold()
        yield
