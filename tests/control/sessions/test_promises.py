"""What pools have promised is the sum of what open sessions hold, whatever comes in which order.

Sessions are opened by two processes with snapshots of their own, closed by receipts, called off,
revoked, ended by time or by their node's word, twice and at once; now and then everything starts
anew on the same database.
"""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)
from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from control.cluster.snapshot import Snapshots
from control.db.database import Database
from control.db.migrations import migrate
from control.db.models import Pool, UploadSession
from control.files import receipts
from control.nodes.heartbeats import Heartbeats
from control.problems import ProblemError
from control.sessions import revocations
from control.sessions.revocations import Revoked
from control.sessions.unbegun import SURE
from control.worker import expiry
from portside.wire.control import Session
from tests.support.control.core import Core

ROOM = 5000
"""Bytes that each node has."""

MINUTES = st.sampled_from([0, 1, 16, 19, 61, 125, 140])
"""Around a token's `exp`, a session's deadline, and the grace behind it."""

WHICH = st.integers(0, 100)


@cache
def _migrated() -> bytes:
    """A SQLite file with the schema and nothing in it."""
    with tempfile.TemporaryDirectory() as home:
        database = Database(f"sqlite:///{home}/control.sqlite")
        migrate(database)
        database.close()
        return (Path(home) / "control.sqlite").read_bytes()


class Promises(RuleBasedStateMachine):
    """One cluster of three nodes that hold nothing but what is uploaded here."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.home = Path(tempfile.mkdtemp())
        self.stack.callback(shutil.rmtree, self.home)
        (self.home / "control.sqlite").write_bytes(_migrated())
        self.url = f"sqlite:///{self.home}/control.sqlite"
        self.database = Database(self.url, connections=4)
        self.core = Core(self.home, self.database, self.url, factor=1)
        self.core.all_report(disk_free=ROOM)
        self.openers = [self.core.new_sessions() for _ in range(2)]
        self.sessions: list[Session] = []
        self.ended: dict[str, str] = {}

    def teardown(self) -> None:
        """After the last deadline nothing is held."""
        late = self.core.clock.pass_by(self.core.settings.session_deadline + expiry.GRACE + 1)
        expiry.expire_sessions(self.database, late)
        self.the_counters_are_the_sums()
        assert [pool.reserved for pool in self.pools()] == [0, 0, 0]
        self.database.close()
        self.stack.close()

    def pools(self) -> list[Pool]:
        return self.database.read(lambda session: list(session.scalars(select(Pool))))

    def one(self, which: int) -> Session:
        return self.sessions[which % len(self.sessions)]

    @rule(
        sizes=st.lists(st.sampled_from((0, 1, 1000, 2500)), min_size=1, max_size=6),
        name=st.sampled_from("ab----"),
    )
    def some_are_opened(self, sizes: list[int], name: str) -> None:
        """By two processes in turn: neither knows what the other has promised meanwhile."""
        named = {} if name == "-" else {"layout": "named", "name": f"{name}.iso"}
        for number, size in enumerate(sizes):
            wish = self.core.wish(None, size=size, **named)
            try:
                found, _ = self.openers[number % 2].open(wish, self.core.clock.now)
            except ProblemError as problem:
                assert problem.slug in ("no-space", "name-taken")
            else:
                self.sessions.append(found)

    @rule(which=st.integers(0, 1), key=st.sampled_from("xy"))
    def is_asked_for_again(self, which: int, key: str) -> None:
        """Under one Idempotency-Key there is one session that is open."""
        wish = self.core.wish(f"key-{key}", size=700)
        try:
            found, is_new = self.openers[which].open(wish, self.core.clock.now)
        except ProblemError as problem:
            assert problem.slug == "no-space"
            return
        if is_new:
            self.sessions.append(found)

    @precondition(lambda self: self.sessions)
    @rule(which=WHICH)
    def its_receipt_comes(self, which: int) -> None:
        """The first time or again, in time or not."""
        self._receipt(self.one(which))

    @precondition(lambda self: self.sessions)
    @rule(which=WHICH)
    def it_is_called_off(self, which: int) -> None:
        session = self.one(which)

        def work(transaction: Transaction) -> None:
            upload = receipts.awaited(transaction, session.file_id)
            if upload is not None:
                receipts.call_off(transaction, upload, self.core.clock.now)

        self.database.write(work)

    @precondition(lambda self: self.sessions)
    @rule(which=WHICH)
    def its_token_is_revoked(self, which: int) -> None:
        self._revoke(self.one(which))

    @precondition(lambda self: self.sessions)
    @rule(which=WHICH)
    def its_end_comes_in_several_ways_at_once(self, which: int) -> None:
        session, now = self.one(which), self.core.clock.now
        ways = (
            lambda: self._receipt(session),
            lambda: self._revoke(session),
            lambda: expiry.expire_sessions(self.database, now),
            lambda: self.database.write(lambda each: receipts.expire(each, session.session_id)),
        )
        with ThreadPoolExecutor(len(ways)) as threads:
            for done in [threads.submit(way) for way in ways]:
                done.result()

    def passes(self, minutes: int) -> None:
        """Nodes show that they are there; what has begun they don't tell."""
        if minutes:
            self.core.clock.pass_by(minutes * 60)
            self.core.all_report(disk_free=ROOM)

    @rule(
        minutes=MINUTES,
        begun=st.sets(st.integers(0, 3)),
        node=st.sampled_from(("s01", "s02", "s03")),
    )
    def a_node_tells_what_has_begun(self, minutes: int, begun: set[int], node: str) -> None:
        """Later or at once, and nothing else ends by it."""
        self.passes(minutes)
        here = [each.session_id for each in self.sessions if each.node_id == node]
        told = tuple(each for number, each in enumerate(here) if number % 4 in begun)
        before = self._open_ones()
        self.core.reports(node, disk_free=ROOM, begun=told)
        late = self.core.clock.now - SURE
        for each in self.sessions:
            over = each.node_id == node and each.session_id not in told and each.expires_at < late
            is_open = each.session_id in self._open_ones()
            assert is_open == (each.session_id in before and not over)

    @rule(minutes=MINUTES)
    def a_workers_round_comes(self, minutes: int) -> None:
        """Later or at once."""
        self.passes(minutes)
        expiry.expire_sessions(self.database, self.core.clock.now)

    @rule(which=st.integers(0, 1))
    def a_process_takes_a_fresh_look(self, which: int) -> None:
        self.openers[which] = self.core.new_sessions()

    @rule()
    def everything_starts_anew(self) -> None:
        """On what is on disk alone."""
        self.database.close()
        core = self.core
        self.database = core.database = Database(self.url, connections=4)
        core.snapshots = Snapshots(core.settings, self.database, core.clock)
        core.heartbeats = Heartbeats(
            core.settings, self.database, core.snapshots, core.runs, core.orders
        )
        core.sessions = core.new_sessions()
        self.openers = [core.new_sessions() for _ in range(2)]

    @invariant()
    def the_counters_are_the_sums(self) -> None:
        self.core.counts_are_right()

    @invariant()
    def no_more_is_promised_than_there_is(self) -> None:
        for pool in self.pools():
            assert 0 <= pool.reserved <= ROOM
            assert pool.open_sessions >= 0

    @invariant()
    def what_has_ended_never_comes_back(self) -> None:
        rows = self.database.read(lambda session: list(session.scalars(select(UploadSession))))
        for row in rows:
            before = self.ended.get(row.session_id)
            assert before in (None, row.state) or (before, row.state) == ("expired", "committed")
            if row.state != "open":
                self.ended[row.session_id] = row.state

    def _open_ones(self) -> set[str]:
        return set(
            self.database.read(
                lambda session: list(
                    session.scalars(
                        select(UploadSession.session_id).where(UploadSession.state == "open")
                    )
                )
            )
        )

    def _receipt(self, session: Session) -> None:
        core = self.core
        claims: dict[str, Any] = {"size": self._size(session)}
        if session.path is not None:
            claims["path"] = session.path
        try:
            core.takes(core.nodes.receipt_of(session, core.clock.now, session.node_id, **claims))
        except ProblemError as problem:
            # Another file came to its name first, once its session was over.
            assert problem.slug == "receipt-conflict"

    def _size(self, session: Session) -> int:
        found = self.database.read(
            lambda transaction: transaction.get_one(UploadSession, session.session_id)
        )
        assert found.size is not None
        return found.size

    def _revoke(self, session: Session) -> None:
        asked = Revoked(session.session_id, None, None, None)
        now = self.core.clock.now
        self.database.write(lambda each: revocations.revoke(each, asked, "", "operator", now))


TestPromises = Promises.TestCase
TestPromises.settings = settings(
    max_examples=8,
    stateful_step_count=16,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
