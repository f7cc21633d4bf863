"""What a transaction does last, whatever made it necessary: rows that all want are locked then.

A transaction that locks such a row early makes everybody wait until it ends, and one that goes on
to lock others behind it waits in a circle with the next. So who has to change one leaves a step
here; steps are taken once the transaction's own work is done, right before it commits.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.orm import Session

Step = Callable[[Session], None]

_STEPS = "portside_last_steps"


def at_the_end(session: Session, step: Step) -> None:
    """Have `step` taken before this transaction commits, once however often it is said."""
    steps: list[Step] = session.info.setdefault(_STEPS, [])
    if step not in steps:
        steps.append(step)


def take(session: Session) -> None:
    """The transaction's work is done: take what steps it has left."""
    for step in session.info.pop(_STEPS, ()):
        step(session)
