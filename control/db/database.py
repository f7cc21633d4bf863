"""Transactions on SQLite or PostgreSQL: how they begin, are tried again, and end for good.

    database.write(lambda session: ...)   # one transaction, committed when the function returns
    database.read(lambda session: ...)    # one transaction that changes nothing

The function may run more than once, so it has no effect but on the session it is given; what it has
to say in the log it leaves there too (`control.db.deferred_log`), and what is to be done last
(`control.db.last_steps`). It runs again, from its beginning and in a new transaction, after a wait
of some milliseconds that doubles with a random part:

- on PostgreSQL after a serialization failure, a deadlock or a lock that came too late (40001,
  40P01, 55P03): the database has rolled the transaction back, so nothing of it happened;
- on SQLite after "database is locked" (another process writes longer than BUSY seconds).

- on another connection when one is lost before its commit was sent: nothing of it happened.

It never runs again when the connection is lost in a commit: nobody can say whether it was done, and
what must not happen twice would. That ends as `DatabaseUnavailable`, as do a full disk, a database
that isn't there and a pool without a free connection; the web side answers 503 with Retry-After.
A connection that was idle is tested before it is lent, and with one that is lost all the others
are given up: a database that comes back is used again without a restart.

Isolation. SQLite's writers begin with BEGIN IMMEDIATE, so that what they read stays true until
they commit; without it, two that read first would both hope to write and one would fail. In one
process they queue on a lock, for SQLite's own waiting sleeps in growing steps. PostgreSQL runs READ
COMMITTED: what must not be lost is a conditional UPDATE or reads `FOR UPDATE` (see
`control.db.models` for the order of locks).

Durability. `write` is durable when it returns: PostgreSQL with its defaults, SQLite in WAL mode
with one fsync for all that commit at a time (`control.db.group_commit`; synchronous=NORMAL alone
would lose acknowledged receipts in a power cut, FULL would sync each by itself). With
`durable=False` it doesn't wait for the disk (synchronous_commit=off on PostgreSQL): a power cut may
undo it, never tear it. That is for what a node tells again anyway.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from control.db import deferred_log, last_steps
from control.db.group_commit import GroupCommit
from portside.backoff import Backoff
from portside.redaction import redact

ATTEMPTS = 6
"""How often a transaction is tried that is rolled back through no fault of its own."""

WAITS = Backoff(first=0.01, longest=1.0, spread=(0.5, 1.5))
"""Seconds before the next attempt: others' transactions are over by then."""

BUSY = 5.0
"""Seconds that a writer waits for another process's transaction."""

IDLE = 1.0
"""Seconds after which a connection is tested before it is used again."""

RETRY_AFTER = 5
"""Seconds after which a client may come again when the database is away."""

_AGAIN = frozenset({"40001", "40P01", "55P03"})
"""PostgreSQL's serialization_failure, deadlock_detected, lock_not_available."""

_WRITES = "portside_writes"
_DURABLE = "portside_durable"

_Result = TypeVar("_Result")
_log = structlog.get_logger()


class DatabaseUnavailable(Exception):
    """The database can't be used now; the log says why."""


class _LostBeforeCommit(Exception):
    """A connection is gone, and what was done on it never was. Raised from what the driver said."""


class Database:
    """The engine and its transactions. Thread-safe; make it after a fork."""

    def __init__(self, url: str, connections: int = 16) -> None:
        """`url` as SQLAlchemy takes it: `sqlite:////path` or `postgresql://user@host/name`.

        `connections` bounds those that are open at once. Raises ValueError for another database.
        """
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
            raise ValueError(f"{parsed.drivername!r} is neither sqlite nor postgresql")
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self.engine: Engine = create_engine(
            parsed,
            pool_size=connections,
            max_overflow=0,
            # The last one back is the first to go: what it has cached is the newest. SQLite drops
            # a connection's cache when another one has written since.
            pool_use_lifo=True,
            pool_timeout=BUSY,
            connect_args=_SQLITE if self.is_sqlite else _POSTGRESQL,
            # Parameters hold owners and names, which no log needs.
            hide_parameters=True,
        )
        self._behind = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._writer = threading.Lock() if self.is_sqlite else nullcontext()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            event.listen(self.engine, "checkin", _note_when_idle)
            event.listen(self.engine, "checkout", self._test_when_idle)
        self._disk = GroupCommit(Path(parsed.database or "")) if self.is_sqlite else None

    def write(self, work: Callable[[Session], _Result], *, durable: bool = True) -> _Result:
        """Run `work` in a transaction and commit it. Raises DatabaseUnavailable.

        What `work` raises rolls the transaction back and goes on to the caller.
        """
        options = {_WRITES: True, _DURABLE: durable}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with self._writer:
                    result = self._once(work, options)
                if durable and self._disk is not None:
                    self._disk.wait()
                return result
            except _LostBeforeCommit as lost:
                if attempt == ATTEMPTS:
                    raise _unavailable(lost) from lost
            except OSError as error:
                # Committed and perhaps not on disk: as after a lost connection, nobody can say.
                raise _unavailable(error) from error
            except DBAPIError as error:
                if not _may_run_again(error):
                    raise _translated(error) from error
                if attempt == ATTEMPTS:
                    raise _unavailable(error) from error
                time.sleep(WAITS.pause(attempt))
            except PoolTimeout as error:
                raise _unavailable(error) from error
        raise AssertionError("unreachable")

    def read(self, work: Callable[[Session], _Result]) -> _Result:
        """Run `work`, which changes nothing. Raises DatabaseUnavailable."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(work, {_WRITES: False})
            except _LostBeforeCommit as lost:
                if attempt == ATTEMPTS:
                    raise _unavailable(lost) from lost
            except DBAPIError as error:
                raise _translated(error) from error
            except PoolTimeout as error:
                raise _unavailable(error) from error
        raise AssertionError("unreachable")

    def _once(self, work: Callable[[Session], _Result], options: dict[str, Any]) -> _Result:
        with self.engine.connect() as connection:
            connection = connection.execution_options(**options)
            session = Session(connection, autoflush=True, expire_on_commit=False)
            with connection.begin():
                try:
                    if not self.is_sqlite and not options.get(_DURABLE, True):
                        connection.execute(_RELAXED)
                    with session:
                        result = work(session)
                        session.flush()
                        last_steps.take(session)
                except DBAPIError as error:
                    if error.connection_invalidated:
                        raise _LostBeforeCommit(str(error.orig)) from error
                    raise
        deferred_log.write_down(session)
        return result

    def _test_when_idle(
        self, connection: DBAPIConnection, record: ConnectionPoolEntry, lent: object
    ) -> None:
        since = record.info.get(_IDLE_SINCE)
        if since is None or time.monotonic() - since < IDLE:
            return
        dialect = self.engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError(str(error)) from error

    def checkpoint(self) -> None:
        """On SQLite: bring what is in the write-ahead log into the database. DatabaseUnavailable.

        Writers and readers go on meanwhile (PASSIVE); without this the writer whose commit makes
        the log too long does it, and all others wait. PostgreSQL does it by itself.
        """
        if not self.is_sqlite:
            return
        try:
            with self.engine.connect() as connection:
                # Outside of a transaction: the module begins none by itself (`_prepare_sqlite`).
                driver = connection.connection.driver_connection
                assert driver is not None  # noqa: S101 (it was lent just now)
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except DBAPIError as error:
            raise _translated(error) from error
        except (PoolTimeout, sqlite3.OperationalError) as error:
            raise _unavailable(error) from error

    def behind(self, work: Callable[[], None]) -> None:
        """Have `work` done that nobody waits for, after what came before; `close` waits for it."""
        self._behind.submit(work)

    def close(self) -> None:
        """Close every connection that isn't in use, once what is done behind has ended."""
        self._behind.shutdown()
        self.engine.dispose()


_IDLE_SINCE = "portside_idle_since"


def _note_when_idle(connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info[_IDLE_SINCE] = time.monotonic()


_RELAXED = text("SET LOCAL synchronous_commit TO off")

_SQLITE: dict[str, Any] = {"timeout": BUSY, "check_same_thread": False}

# A peer that is silent is given up within seconds, and a lock that nobody releases too.
_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "application_name": "portside-control",
    "options": "-c lock_timeout=5s -c statement_timeout=30s "
    "-c idle_in_transaction_session_timeout=60s",
}


def _prepare_sqlite(connection: sqlite3.Connection, record: object) -> None:
    # Transactions begin by our own BEGIN, not by the module's guess.
    connection.isolation_level = None
    connection.execute("PRAGMA journal_mode=WAL")
    # Commits are synced together: control.db.group_commit.
    connection.execute("PRAGMA synchronous=NORMAL")
    # 64 MiB instead of 4: the worker's rounds checkpoint before that (`Database.checkpoint`).
    connection.execute("PRAGMA wal_autocheckpoint=16384")
    connection.execute("PRAGMA foreign_keys=ON")
    # 16 MiB; the file's pages are in the kernel's cache too.
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute("PRAGMA temp_store=MEMORY")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if not options.get(_WRITES, True):
        connection.exec_driver_sql("BEGIN")
        return
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _may_run_again(error: DBAPIError) -> bool:
    """Whether the database undid the transaction only because of another one."""
    original = error.orig
    if isinstance(original, sqlite3.OperationalError):
        return (original.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return getattr(original, "sqlstate", None) in _AGAIN


def _translated(error: DBAPIError) -> Exception:
    """An error of the database's own state as ours; a mistake in a statement stays what it is."""
    if error.connection_invalidated or isinstance(error, OperationalError | InterfaceError):
        return _unavailable(error)
    return error


def _unavailable(error: Exception) -> DatabaseUnavailable:
    said = redact(str(getattr(error, "orig", None) or error)).strip()
    _log.error("database unavailable", error=said)
    return DatabaseUnavailable(said)
