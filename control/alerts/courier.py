"""Carries messages to one channel, in a thread of its own: a dead receiver holds nobody up.

A database that is away is asked again; anything unforeseen ends the thread, and the worker that
looks after it ends for it, so that systemd starts both anew and the log has the reason.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from control.alerts import outbox
from control.alerts.channels import Deliver
from control.alerts.outbox import Attempt
from control.alerts.webhook import NotDelivered, NotWanted
from control.db.database import Database, DatabaseUnavailable
from control.db.models import AlertChannel

_log = structlog.get_logger()

EVERY = 2.0
"""Seconds between two looks at what is due."""


class Courier:
    """One channel's."""

    def __init__(
        self,
        channel: AlertChannel,
        deliver: Deliver,
        database: Database,
        clock: Callable[[], datetime],
    ) -> None:
        self._channel = channel
        self._deliver = deliver
        self._database = database
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"alerts-{channel}", daemon=True)
        self.failed: Exception | None = None

    def start(self) -> None:
        """Begin to deliver."""
        self._thread.start()

    def stop(self) -> None:
        """Take no more; a delivery that hangs is left behind, and tried by whoever comes next."""
        self._stopping.set()
        self._thread.join(1.0)

    def deliver_one(self) -> bool:
        """Try the message whose turn it is; whether there was one. Raises DatabaseUnavailable."""
        attempt = self._database.write(
            lambda session: outbox.take(session, self._channel, self._clock()), durable=False
        )
        if attempt is None:
            return False
        if attempt.message is None:
            self._note_failure(attempt, "it can't be read: another release wrote it")
            return True
        try:
            self._deliver(attempt.message)
        except NotWanted as gone:
            _log.error("alert not wanted", channel=self._channel, problem=str(gone))
        except NotDelivered as error:
            self._note_failure(attempt, str(error))
            return True
        except ValueError as error:
            # What this message or receiver has in it can't be sent; others can. Not in its own
            # words, which may quote a secret.
            self._note_failure(attempt, f"it can't be sent: {type(error).__name__}")
            return True
        self._database.write(lambda session: outbox.arrived(session, attempt), durable=False)
        return True

    def _note_failure(self, attempt: Attempt, problem: str) -> None:
        now = self._clock()
        last = now - attempt.created_at >= outbox.GIVEN_UP_AFTER
        _log.error(
            "alert given up" if last else "alert not delivered",
            channel=self._channel,
            attempt=attempt.number,
            problem=problem,
        )
        self._database.write(
            lambda session: outbox.failed(session, attempt, problem, now), durable=False
        )

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if self.deliver_one():
                    continue
            except DatabaseUnavailable:
                # It is in the log already.
                pass
            except Exception as error:
                _log.error("alerts' courier failed", channel=self._channel, exc_info=error)
                self.failed = error
                return
            self._stopping.wait(EVERY)
