"""Pushes under way: threads of the worker that bring copies to other nodes, one file each.

Uploads come first: pushes are bounded in number and in bytes per second, and run in the worker,
which the system gives the processor and the disk last. A target that hangs leaves room for others.
"""

from __future__ import annotations

import random
import sqlite3
import threading
import time
from collections import Counter

import structlog

from agent.cluster.roster import Rosters
from agent.host.supervised_thread import Pulse, patiently
from agent.host.throttle import Throttle
from agent.host.tls import trust
from agent.index.database import Database
from agent.problems import ProblemError
from agent.replication.attempt import Attempt, after
from agent.replication.queue import Push, PushQueue
from agent.replication.sender import Conditions, Errand, Sender
from agent.settings import Settings
from agent.storage.attributes import lines_of_its_upload
from agent.storage.staging import DiskFailed, DiskFull
from agent.storage.verification import Verifier
from agent.telemetry.worker_report import PushesReport
from portside.quantities import MIB
from portside.tokens import SigningKey
from portside.tracing import current
from portside.tracing.spans import Kind, Step, step
from portside.wire.files import StoredFile

_log = structlog.get_logger()

IDLE = 0.2
"""Seconds between two looks for a push that is due: an upload may be waiting for it."""

SETTLE_EVERY = 10.0
"""Seconds between two looks for pushes whose file is gone."""

LONGEST_PIECE = 4 * MIB
"""Bytes read and sent at a time where memory allows: fewer, longer writes make TLS cheap."""


class PushWorker:
    """Makes copies. `run` is what each of its threads does."""

    def __init__(self, settings: Settings, database: Database, key: SigningKey) -> None:
        """Raises TrustError when the cluster's own authority can't be read."""
        self.threads = settings.push_parallel
        self._settings = settings
        self._database = database
        self._pushes = PushQueue(database)
        self._rosters = Rosters(settings)
        self._sender = Sender(key, trust(settings.ca))
        self._verifier = Verifier(settings, database)
        self._throttle = Throttle(settings.push_rate)
        self._piece = min(4 * settings.sizing.ring_buffer, LONGEST_PIECE)
        self._lock = threading.Lock()
        self._running: dict[int, str] = {}
        self._reached: dict[str, int] = {}
        self._settle_at = 0.0
        self._pushed = self._failed = self._bytes = 0

    def run(self, pulse: Pulse) -> None:
        """Push whatever is due until the worker is to stop."""
        while not pulse.stopped:
            self._settle_gone(pulse)
            taken = self._take()
            if taken is None:
                pulse.wait(IDLE)
                continue
            push, stored = taken
            try:
                with (
                    lines_of_its_upload(self._settings.uploads / stored.path),
                    step("push", Kind.CLIENT, of=current.kept(push.trace)) as span,
                ):
                    self._push(push, stored, pulse, span)
            finally:
                with self._lock:
                    del self._running[push.number]

    def report(self) -> PushesReport:
        """What was done since the start, and what there is to do."""
        waiting, dead = self._pushes.counts()
        with self._lock:
            return PushesReport(
                waiting=waiting,
                dead=dead,
                oldest_age_seconds=self._pushes.lag().oldest,
                pushed=self._pushed,
                failed=self._failed,
                bytes_sent=self._bytes,
            )

    def _settle_gone(self, pulse: Pulse) -> None:
        with self._lock:
            if time.monotonic() < self._settle_at:
                return
            self._settle_at = time.monotonic() + SETTLE_EVERY
        try:
            self._settle(pulse)
        except sqlite3.OperationalError as error:
            # A full or busy disk: it is looked at again soon.
            _log.warning("pushes not settled", error=str(error))

    def _settle(self, pulse: Pulse) -> None:
        """Drop what is pushed no more, and have targets forget what came of deleted files.

        That was perhaps before this worker's time. A target that doesn't hear isn't asked again: it
        gives the space back a day later.
        """
        roster, deaf = self._rosters.current(), set[str]()
        for each in self._pushes.settle_gone():
            target = roster.find(each.target)
            if target is None or target.node_id in deaf:
                continue
            path = self._settings.uploads / each.stored.path
            if not self._sender.forget(Errand(path, each.stored, each.jti, target)):
                deaf.add(target.node_id)
            pulse.beat()

    def _take(self) -> tuple[Push, StoredFile] | None:
        """A due push, for this thread alone; one thread is left for targets that don't hang."""
        with self._lock:
            at_work = Counter(self._running.values())
            most = max(1, self.threads - 1)
            busy = [target for target, count in at_work.items() if count >= most]
            found = self._pushes.due(int(time.time()), list(self._running), busy)
            if found is not None:
                self._running[found[0].number] = found[0].target
            return found

    def _push(self, push: Push, stored: StoredFile, pulse: Pulse, span: Step) -> None:
        began = time.monotonic()
        attempt, progressed = self._attempt(push, stored, pulse)
        pulse.beat()
        if attempt.result == "stopped":
            return
        if attempt.result == "damaged":
            attempt = self._looked_at(stored, attempt, pulse)
        span.attributes |= {
            "portside.node": push.target,
            "portside.file_id": stored.file_id,
            "portside.file.size": stored.size,
            "portside.outcome": attempt.result,
        }
        if attempt.result not in ("done", "unwanted"):
            span.failure = attempt.result
        named = {
            "push_id": push.public_id,
            "file_id": stored.file_id,
            "path": str(stored.path),
            "size": stored.size,
            "source": self._settings.node_id,
            "target": push.target,
            "seconds": round(time.monotonic() - began, 3),
        }
        with self._lock:
            self._pushed += attempt.result == "done"
            self._failed += attempt.result in ("failed", "hopeless")
            self._bytes += attempt.sent
        if attempt.result == "done":
            _log.info("pushed", outcome="done", sent=attempt.sent, **named)
            patiently(pulse, lambda: self._pushes.succeeded(push, attempt.receipt))
        elif attempt.result == "unwanted":
            _log.info("push dropped", outcome="unwanted", **named)
            patiently(pulse, lambda: self._settle(pulse))
        else:
            chance = random.random()  # noqa: S311 (jitter)
            following = after(attempt, push.attempts, progressed, int(time.time()), chance)
            _log.warning(
                "push failed",
                outcome=attempt.result,
                error=following.error,
                attempt=following.attempts,
                dead=following.state == "DEAD",
                **named,
            )
            patiently(pulse, lambda: self._pushes.put_off(push, following))

    def _attempt(self, push: Push, stored: StoredFile, pulse: Pulse) -> tuple[Attempt, bool]:
        """One attempt, and whether those before it had brought the copy forward."""
        roster = self._rosters.current()
        target = roster.find(push.target)
        if target is None or push.target == self._settings.node_id:
            return Attempt("failed", f"the roster has no other node {push.target!r}"), False
        if target.state == "retired":
            return Attempt("failed", f"{push.target} is retired"), False
        jti = self._pushes.token_of(stored.file_id)
        if jti is None:
            return Attempt("unwanted"), False
        path = self._settings.uploads / stored.path
        conditions = Conditions(
            piece=self._piece,
            throttles=(self._throttle, Throttle(push.bytes_per_second)),
            is_wanted=lambda: self._pushes.is_wanted(push),
            pulse=pulse,
        )
        attempt = self._sender.send(Errand(path, stored, jti, target, push.proof), conditions)
        with self._lock:
            before = self._reached.pop(push.public_id, 0)
            if attempt.result == "failed":
                self._reached[push.public_id] = max(before, conditions.offset)
        return attempt, conditions.offset > before

    def _looked_at(self, stored: StoredFile, attempt: Attempt, pulse: Pulse) -> Attempt:
        """Read a file that seems damaged: if it is, it goes to quarantine, and its pushes wait.

        One that is sound was damaged on its way, and is sent again like after any failure.
        """
        try:
            found = self._verifier.verify(stored, lambda read: _keep_on(pulse))
        except (ProblemError, DiskFull, DiskFailed, OSError, sqlite3.Error, _Stopped) as error:
            return Attempt("failed", f"{attempt.error}; not verified: {error}")
        if found.intact:
            return Attempt("failed", f"{attempt.error}; the file here is sound")
        return Attempt("failed", f"{attempt.error}; the file here is damaged, and in quarantine")


class _Stopped(Exception):
    """The worker stops in the middle of a reading."""


def _keep_on(pulse: Pulse) -> None:
    pulse.beat()
    if pulse.stopped:
        raise _Stopped("the worker stops")
