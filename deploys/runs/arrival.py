"""Arriving at a host: over a connection that can be told from a dead one, a login that does what is
asked, and as the only run that is at it."""

from __future__ import annotations

from deploys.runs import questions
from deploys.runs.connection import hold_on
from deploys.runs.lock import hold
from deploys.runs.login import check_login


def arrive() -> None:
    """At the host that is being prepared, before it is looked at.

    Raises PyinfraError, or RunRefused when somebody else's run is at it.
    """
    hold_on()
    questions.listen()
    check_login()
    hold()
