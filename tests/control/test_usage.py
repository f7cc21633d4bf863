"""What owners and apps have, by counters that every transaction keeps right, and put right if not.

Whatever happens to files and sessions, in whichever order, the counters say what the rows do; and
what is counted is locked last, in one order, so that nobody waits in a circle for it.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.orm import Session as Transaction

from control.catalogue import copies, counters, usage
from control.cluster.reach import EVERYTHING
from control.db.database import Database
from control.db.models import UploadSession as SessionRow
from control.db.models import Usage
from control.files import service
from control.problems import ProblemError
from control.sessions.checks import AppRequest
from control.sessions.opening import SessionOpener
from control.worker import expiry, recount
from portside.cluster.quotas import Quotas
from portside.wire.control import Session
from portside.wire.files import HoldNote
from portside.wire.inventory import HeldFile, HeldFiles
from tests.support.control.core import Core
from tests.support.control.inventories import held, inventories, tells
from tests.support.control.orders import ordered

OWNERS = ("alice", "bob")
MOST = 12_000
"""Bytes of each owner, so that some sessions are refused."""

STEPS = (
    "open",
    "receipt",
    "copy's receipt",
    "another content",
    "call off",
    "delete",
    "end",
    "hold",
    "lose",
    "take over",
    "name",
    "bury",
    "minutes",
    "hours",
)

FEW = settings(
    max_examples=10,
    phases=[Phase.generate],
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class History:
    """A cluster to which one thing happens after the other."""

    def __init__(self, core: Core) -> None:
        self.core = core
        self.quotas = Quotas.model_validate({"default": {"bytes": MOST, "files": 9}})
        self.opened: list[Session] = []
        self.files: list[str] = []
        self.told: list[HeldFile] = []

    def happens(self, step: str, number: int) -> None:
        """One of the steps, to what `number` chooses."""
        owner = OWNERS[number % len(OWNERS)]
        if step == "open":
            self._opens(owner, number)
        elif step in ("minutes", "hours"):
            self.core.clock.pass_by(600 if step == "minutes" else 4 * 3600)
            expiry.expire_sessions(self.core.database, self.core.clock.now)
            expiry.end_files(self.core.database, self.core.clock.now, 3600)
            expiry.give_up_copies(self.core.database, self.core.clock.now)
            self.core.all_report()
        elif step in ("take over", "name"):
            self._is_told(step, owner, number)
        elif step == "bury" and self.told:
            self._buries(self.told[number % len(self.told)])
        elif step in ("receipt", "copy's receipt", "another content", "call off") and self.opened:
            self._goes_on(step, self.opened[number % len(self.opened)])
        elif self.files:
            self._changes(step, self.files[number % len(self.files)])

    def _opens(self, owner: str, number: int) -> None:
        settings = self.core.settings.model_copy(update={"quotas": self.quotas})
        opener = SessionOpener(settings, self.core.database, self.core.snapshots, self.core.key)
        kinds = ({"size": 1000}, {"size": 3000}, {"size": None}, {"size": None, "max_size": 2000})
        wish = self.core.wish(owner=owner, **kinds[number % len(kinds)], expires_in="5h")
        try:
            session, _ = opener.open(AppRequest(wish.app, wish.request), self.core.clock.now)
        except ProblemError as problem:
            assert problem.slug == "over-quota", problem
            return
        self.opened.append(session)
        self.files.append(session.file_id)
        # By promises alone nobody is over; what came late or was told of may be more.
        assert session.quota is not None

    def _goes_on(self, step: str, session: Session) -> None:
        if step == "call off":
            self._deletes(session.file_id)
            return
        first = session.node_id if step == "receipt" else session.replicas[0]
        self._brings(session, first, "b")
        if step == "another content":
            # What was uploaded is what the first node says, whatever came before.
            self._brings(session, session.node_id, "c")

    def _brings(self, session: Session, node_id: str, digit: str) -> None:
        row = self.core.database.read(lambda s: s.get(SessionRow, session.session_id))
        size = 100 * int(digit, 16) if row is None or row.size is None else row.size
        self._takes(
            self.core.nodes.receipt_of(
                session,
                self.core.clock.now,
                node_id,
                size=size,
                sha256=digit * 64,
                path=PurePosixPath("files/2026/01/02/03", f"{session.file_id}.iso"),
            )
        )

    def _takes(self, receipt: str) -> None:
        try:
            self.core.takes(receipt)
        except ProblemError as problem:
            assert problem.slug == "receipt-conflict", problem

    def _deletes(self, file_id: str) -> None:
        snapshot, now = self.core.snapshots.current(), self.core.clock.now
        try:
            self.core.database.write(
                lambda s: service.remove(s, snapshot, file_id, EVERYTHING, now)
            )
        except ProblemError as problem:
            assert problem.slug == "not-found", problem

    def _is_told(self, step: str, owner: str, number: int) -> None:
        self.core.reports("s01")
        if step == "take over":
            files = [held(owner=each, app=("shop", None)[number % 2]) for each in (owner, "carol")]
            tells(self.core, "s01", *files, *self.told[:1])
            self.told += files
            self.files += [each.file_id for each in files]
            return
        # A receipt alone first: nobody knows whose the file is until its node has told.
        file = held(owner=owner)
        known = file.model_dump(include={"file_id", "jti", "path", "sha256", "committed_at"})
        self._takes(self.core.nodes.receipt("s01", self.core.clock.now, **known))
        tells(self.core, "s01", file)
        self.told.append(file)

    def _buries(self, file: HeldFile) -> None:
        self.core.reports("s01")
        gone = ordered(self.core, "s01", file)
        message = HeldFiles(
            node_id="s01", ticket=self.core.ticket("s01"), files=(gone,), deleted=True
        )
        token, body = self.core.nodes.message("s01", message, self.core.clock.now)
        inventories(self.core).take_over("s01", token, body, self.core.clock.now)

    def _changes(self, step: str, file_id: str) -> None:
        now, snapshot = self.core.clock.now, self.core.snapshots.current()
        if step == "delete":
            self._deletes(file_id)
            return

        def change(session: Transaction) -> None:
            file = copies.lock_file(session, file_id)
            if file is None:
                return
            if step == "end":
                file.expires_at = now
            elif step == "lose":
                for node_id in copies.copies_of(session, file_id):
                    copies.lost(session, file, node_id, now)
            elif file.state == "committed":
                note = HoldNote(by="operator", at=now)
                service.set_held(session, snapshot, file_id, EVERYTHING, note, now, held=True)

        self.core.database.write(change)


def test_the_counters_say_what_the_rows_do_whatever_happened(core: Core) -> None:
    history = History(core)
    with usage_is_locked_last(core.database):

        @FEW
        @given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=25))
        def happens(steps: list[tuple[str, int]]) -> None:
            for step, number in steps:
                history.happens(step, number)
            core.counts_are_right()

        happens()
    states = core.database.read(
        lambda s: {state for (state,) in s.execute(text("SELECT DISTINCT state FROM files"))}
    )
    assert {"committed", "deleting"} <= states
    assert core.database.read(lambda s: s.query(Usage).count()) > 2


@contextmanager
def usage_is_locked_last(database: Database) -> Iterator[None]:
    """Fails when a transaction changes another table behind what it has counted."""
    behind: list[str] = []
    counting = threading.local()

    def asked(conn: Any, cursor: Any, statement: str, *rest: Any) -> None:
        changes = (
            statement.split()[0] in ("INSERT", "UPDATE", "DELETE") or "FOR UPDATE" in statement
        )
        if statement.startswith("INSERT INTO usage"):
            counting.now = True
        elif changes and getattr(counting, "now", False):
            behind.append(statement)

    def ended(conn: Any) -> None:
        counting.now = False

    listeners = (("before_cursor_execute", asked), ("commit", ended), ("rollback", ended))
    for name, listener in listeners:
        event.listen(database.engine, name, listener)
    try:
        yield
    finally:
        for name, listener in listeners:
            event.remove(database.engine, name, listener)
    assert behind == []


def test_who_counts_for_many_waits_for_nobody_in_a_circle(postgresql_database: Database) -> None:
    """Each changes the other's first owner as its second one."""
    runs: list[str] = []
    both = threading.Barrier(2, timeout=30)

    def count(first: str, second: str) -> None:
        def work(session: Transaction) -> None:
            runs.append(first)
            usage.changed(session, "shop", first, usage.of_file(1))
            session.flush()
            if runs.count(first) == 1:
                both.wait()
            usage.changed(session, "shop", second, usage.of_file(1))

        postgresql_database.write(work)

    threads = [
        threading.Thread(target=count, args=names) for names in (OWNERS, tuple(reversed(OWNERS)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(runs) == sorted(OWNERS)
    said = postgresql_database.read(usage.said)
    assert {key: amount.files for key, amount in said.items()} == {
        ("shop", "alice"): 2,
        ("shop", "bob"): 2,
        ("shop", ""): 4,
    }


def test_wrong_counters_are_put_right_and_empty_ones_forgotten(core: Core) -> None:
    core.takes(core.nodes.receipt_of(core.opens(owner="alice"), core.clock.now))
    core.opens(owner="bob")
    core.database.write(
        lambda s: s.execute(text("UPDATE usage SET bytes = 7, promised_files = -3")) and None
    )
    stray = {"app_id": "", "owner": "nobody", "files": 2, "bytes": 0}
    stray |= {"promised_bytes": 0, "promised_files": 0}
    core.database.write(lambda s: s.add(Usage(**stray)))
    assert len(core.database.read(lambda s: counters.of_usage(s))) == 4
    assert len(recount.put_usage_right(core.database)) == 4
    core.counts_are_right()
    assert set(core.database.read(usage.said)) == {
        ("shop", ""),
        ("shop", "alice"),
        ("shop", "bob"),
    }
    assert recount.put_usage_right(core.database) == []


def test_an_older_database_counts_what_it_has_when_it_is_migrated(core: Core) -> None:
    core.opens(owner="alice")
    core.opens(owner="alice", size=None, max_size=2000)
    core.takes(core.nodes.receipt_of(core.opens(owner="bob"), core.clock.now))
    core.stores("s01")
    tells(core, "s01", held(app=None), held(app="blog"))
    migration = importlib.import_module("control.db.migrations.versions.0009_usage")

    def again(session: Transaction) -> None:
        for statement in ("DELETE FROM usage", *migration.FILL):
            session.execute(text(statement))

    core.database.write(again)
    assert len(core.database.read(usage.said)) > 5
    core.counts_are_right()
