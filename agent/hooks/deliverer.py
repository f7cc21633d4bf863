"""Deliveries under way: hooks and receipts, carried out at least once, or given up.

Several threads share one `Deliverer`. A row stays until its delivery is made; one that fails waits
for its next attempt, or is DEAD and on the list that `portside-agent deliveries` shows.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from contextlib import AbstractContextManager
from importlib.metadata import version

import structlog

from agent.cluster.roster import Rosters
from agent.hooks import command, webhook
from agent.host.supervised_thread import Pulse, patiently
from agent.host.tls import TrustError, trust
from agent.index.database import Database
from agent.outbox.deliveries import Outbox, Row
from agent.outbox.events import (
    HOOK_KINDS,
    RECEIPT,
    Outcome,
    after,
    claims,
    environment,
    event,
    find_hook,
    occasion_of,
    shown,
)
from agent.settings import Settings
from agent.storage.attributes import lines_of_its_upload
from agent.telemetry.worker_report import DeliveriesReport
from portside.tokens import HOOK_HEADER, SigningKey, mint_hook
from portside.tracing import current
from portside.tracing.spans import Kind, Step, step
from portside.wire import paths
from portside.wire.control import FileReceipt
from portside.wire.files import StoredFile
from portside.wire.hooks import Hook

_log = structlog.get_logger()

THREADS = 4
"""Deliveries at once."""

KINDS = (*HOOK_KINDS, RECEIPT)
"""What the deliverer carries out; other rows of the table are others' work."""

MOST_PER_TARGET = 2
"""Of these for one target: a receiver that hangs leaves room for the others."""

IDLE = 2.0
"""Seconds between two looks for a delivery that is due."""


class Deliverer:
    """Carries out deliveries. `run` is what each of its threads does."""

    def __init__(self, settings: Settings, database: Database, key: SigningKey) -> None:
        self._settings = settings
        self._outbox = Outbox(database)
        self._rosters = Rosters(settings)
        self._key = key
        self._agent = f"portside-agent/{version('portside')}"
        self._lock = threading.Lock()
        self._running: dict[int, str] = {}
        self._delivered = self._failed = 0

    def run(self, pulse: Pulse) -> None:
        """Deliver whatever is due until the worker is to stop."""
        while not pulse.stopped:
            row = self._take()
            if row is None:
                pulse.wait(IDLE)
                continue
            try:
                with _step_of(row) as span:
                    self._deliver(row, pulse, span)
            finally:
                with self._lock:
                    del self._running[row.number]

    def report(self) -> DeliveriesReport:
        """What was done since the start, and what there is to do."""
        waiting, dead = self._outbox.counts(KINDS)
        with self._lock:
            return DeliveriesReport(
                waiting=waiting, dead=dead, delivered=self._delivered, failed=self._failed
            )

    def _take(self) -> Row | None:
        """A due delivery, for this thread alone."""
        with self._lock:
            at_work = Counter(self._running.values())
            busy = [target for target, count in at_work.items() if count >= MOST_PER_TARGET]
            row = self._outbox.due(int(time.time()), list(self._running), busy, KINDS)
            if row is not None:
                self._running[row.number] = row.target
            return row

    def _deliver(self, row: Row, pulse: Pulse, span: Step) -> None:
        found = self._outbox.file_of(row)
        if (
            found is not None
            and found[0] in ("DELETED", "ENDED")
            and (
                occasion_of(row.kind) == "deleted" or (found[0] == "ENDED" and row.kind == RECEIPT)
            )
        ):
            # What is beside its path by now may be of another file.
            self._deliver_file(row, found[0], found[1], pulse, span)
            return
        if found is None or found[0] in ("DELETING", "DELETED", "ENDED"):
            _log.info("delivery dropped: its file is deleted", **_named(row))
            patiently(pulse, lambda: self._outbox.remove([row.number]))
            return
        state, stored = found
        with lines_of_its_upload(self._settings.uploads / stored.path):
            self._deliver_file(row, state, stored, pulse, span)

    def _deliver_file(
        self, row: Row, state: str, stored: StoredFile, pulse: Pulse, span: Step
    ) -> None:
        hook = find_hook(self._settings.hooks, stored.namespace, row.kind, row.target)
        if state not in ("COMMITTED", "DELETED", "ENDED"):
            outcome = Outcome("hopeless", "the file is damaged and in quarantine")
        elif row.kind == RECEIPT:
            outcome = self._register(stored)
        elif hook is None:
            outcome = Outcome("hopeless", "the settings have no such hook any more")
        else:
            attempted = self._attempt(row, stored, hook, pulse)
            if attempted is None:
                return
            outcome = attempted
        pulse.beat()
        span.failure = "" if outcome.result == "done" else outcome.result
        self._settle(row, outcome, pulse)

    def _register(self, stored: StoredFile) -> Outcome:
        """Bring a file's receipt to the control plane, wherever that is by now."""
        control_url = self._rosters.current().control_url
        if control_url is None:
            return Outcome("hopeless", "the roster names no control plane any more")
        body = FileReceipt(receipt=stored.receipt).model_dump_json().encode()
        headers = {"User-Agent": self._agent, **current.headers()}
        try:
            trusting = trust(self._settings.ca)
        except TrustError as error:
            return Outcome("failed", str(error))
        return webhook.post(f"{control_url}{paths.FILES}", body, headers, trusting=trusting)

    def _attempt(self, row: Row, stored: StoredFile, hook: Hook, pulse: Pulse) -> Outcome | None:
        """Run the command or call the webhook; None when the worker's stop cut it short."""
        if hook.url is not None:
            body = event(stored, occasion_of(row.kind), row.public_id, row.attempts + 1)
            signed = claims(self._settings.node_id, hook.url, row.public_id, body, int(time.time()))
            headers = {HOOK_HEADER: mint_hook(self._key, signed), "User-Agent": self._agent}
            return webhook.post(hook.url, body, {**headers, **current.headers()})
        path = self._settings.uploads / stored.path
        ran = command.run(
            [*(hook.command or ()), str(path)],
            {
                **environment(stored, occasion_of(row.kind), path, row.public_id, row.attempts + 1),
                **current.environment(),
            },
            stored.model_dump_json().encode(),
            pulse,
        )
        _log.info("hook's command ended", output=ran.output, **_named(row))
        return None if ran.interrupted else ran.outcome

    def _settle(self, row: Row, outcome: Outcome, pulse: Pulse) -> None:
        """Note down what became of an attempt."""
        now = int(time.time())
        following = after(outcome, row.attempts + 1, now, random.random())  # noqa: S311 (jitter)
        with self._lock:
            self._delivered += following is None
            self._failed += following is not None
        if following is None:
            _log.info("delivered", **_named(row))
            patiently(pulse, lambda: self._outbox.remove([row.number]))
            return
        _log.warning(
            "delivery failed",
            error=following.error,
            attempt=following.attempts,
            dead=following.state == "DEAD",
            **_named(row),
        )
        patiently(pulse, lambda: self._outbox.put_off(row.number, following))


def _step_of(row: Row) -> AbstractContextManager[Step]:
    """A span of the trace that the row was written in: what is told, and to whom."""
    by_command = row.kind.startswith("command")
    return step(
        row.kind if row.kind == RECEIPT else f"hook {row.kind}",
        Kind.INTERNAL if by_command else Kind.CLIENT,
        current.kept(row.trace),
        **{"portside.target": shown(row.kind, row.target), "portside.file_id": row.file_id},
    )


def _named(row: Row) -> dict[str, str]:
    return {
        "delivery_id": row.public_id,
        "file_id": row.file_id,
        "kind": row.kind,
        "target": shown(row.kind, row.target),
    }
