"""What every run begins with: `config.py`, which pyinfra reads first, and `inventory` call it."""

from __future__ import annotations

import atexit
import os
import sys

from pyinfra import logger
from pyinfra.context import ctx_config, ctx_state

from deploys.runs import request
from deploys.runs.complaints import complaints
from deploys.runs.summary import print_summary


def begin() -> None:
    """See that nothing will be asked of nobody; listen for what goes wrong, to sum it up."""
    # pyinfra's own command has Python compile all of the deploy anew each time.
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    state = ctx_state.get()  # type: ignore[no-untyped-call]
    # With -y pyinfra doesn't look first; of `--dry -y` nothing would be left.
    state.check_for_changes |= request.read().dry
    request.end_when_interrupted()
    logger.addHandler(complaints)
    atexit.register(print_summary, state)


def hosts_fail_alone() -> None:
    """Go on with the other hosts when one fails, with -y and without.

    Without, pyinfra would ask at each failure whether to go on; it sets that up after `config.py`
    and before `inventory`. It still asks before it changes anything.
    """
    if ctx_state.isset():  # type: ignore[no-untyped-call]
        ctx_state.get().should_raise_failed_hosts = None  # type: ignore[no-untyped-call]
        ctx_config.get().FAIL_PERCENT = request.current().most_failures  # type: ignore[no-untyped-call]
