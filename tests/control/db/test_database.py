"""Transactions on both databases: nothing lost, nothing doubled, and back after an outage."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from control.db.database import Database, DatabaseUnavailable
from control.db.deferred_log import log_on_commit
from control.db.migrations import SchemaOutdated, check, migrate
from control.db.models import Base, Node, Pool, Revocation
from faults.causing.hog import Hog
from tests.support.control.postgresql import PostgresqlServer

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def add_pools(session: Session, *pools: str) -> None:
    for pool in pools:
        session.execute(
            insert(Node).values(
                node_id=pool, public_base_url="", upload_api_url="", key={}, wanted_at=NOW
            )
        )
        session.execute(insert(Pool).values(pool_id=pool, node_id=pool))


def promise(size: int, pool: str = "s01") -> Callable[[Session], None]:
    def work(session: Session) -> None:
        session.execute(
            update(Pool).where(Pool.pool_id == pool).values(reserved=Pool.reserved + size)
        )

    return work


def reserved(database: Database, pool: str = "s01") -> int:
    return database.read(
        lambda session: session.scalars(select(Pool.reserved).where(Pool.pool_id == pool)).one()
    )


def test_the_migrated_schema_is_the_one_of_the_models(database: Database) -> None:
    def compare(session: Session) -> list[object]:
        context = MigrationContext.configure(
            session.connection(), opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))

    assert database.read(compare) == []


def test_migrating_again_changes_nothing_and_an_empty_database_is_told_apart(
    database: Database, tmp_path: Path
) -> None:
    check(database)
    assert migrate(database) == migrate(database)
    empty = Database(f"sqlite:///{tmp_path / 'empty.sqlite'}")
    with pytest.raises(SchemaOutdated, match="portside-control migrate"):
        check(empty)
    empty.close()


def test_a_moment_comes_back_to_the_microsecond(database: Database) -> None:
    row = Revocation(token_id="t" * 8, revoked_at=NOW, expires_at=NOW + timedelta(days=1))
    database.write(lambda session: session.add(row))
    found = database.read(lambda session: session.get(Revocation, "t" * 8))
    assert found is not None
    assert (found.revoked_at, found.expires_at) == (NOW, NOW + timedelta(days=1))


@pytest.mark.parametrize("durable", [True, False])
def test_no_concurrent_reservation_is_lost(database: Database, durable: bool) -> None:
    database.write(lambda session: add_pools(session, "s01"))
    with ThreadPoolExecutor(8) as threads:
        for done in [
            threads.submit(database.write, promise(3), durable=durable) for _ in range(200)
        ]:
            done.result()
    assert reserved(database) == 600


def test_what_a_transaction_raises_undoes_it(database: Database) -> None:
    database.write(lambda session: add_pools(session, "s01"))

    def work(session: Session) -> None:
        promise(5)(session)
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        database.write(work)
    with pytest.raises(IntegrityError):
        database.write(lambda session: add_pools(session, "s01"))
    assert reserved(database) == 0
    assert database.write(promise(1)) is None
    assert reserved(database) == 1


def test_a_transaction_that_the_database_undoes_runs_again(
    postgresql_database: Database,
) -> None:
    """Two that lock the same rows in opposite order: PostgreSQL ends one, both happen."""
    postgresql_database.write(lambda session: add_pools(session, "s01", "s02"))
    meeting = threading.Barrier(2)
    runs: list[str] = []

    def both(first: str, second: str) -> Callable[[Session], None]:
        def work(session: Session) -> None:
            runs.append(first)
            promise(1, first)(session)
            if len(runs) <= 2:
                meeting.wait(timeout=60)
            promise(1, second)(session)

        return work

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(postgresql_database.write, both("s01", "s02"))
        other = threads.submit(postgresql_database.write, both("s02", "s01"))
        one.result()
        other.result()
    assert len(runs) == 3, "one of them was undone and ran again"
    assert (reserved(postgresql_database), reserved(postgresql_database, "s02")) == (2, 2)


def test_processes_wait_for_each_other(database: Database, database_url: str) -> None:
    """Two processes that read before they write, at the same time: every write counts."""
    database.write(lambda session: add_pools(session, "s01"))
    program = (
        "import sys\n"
        "from sqlalchemy import select, update\n"
        "from control.db.database import Database\n"
        "from control.db.models import Pool\n"
        "def work(session):\n"
        "    query = select(Pool.reserved).where(Pool.pool_id == 's01').with_for_update()\n"
        "    was = session.scalars(query).one()\n"
        "    session.execute(update(Pool).where(Pool.pool_id == 's01').values(reserved=was + 1))\n"
        "database = Database(sys.argv[1])\n"
        "for _ in range(100): database.write(work, durable=False)\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, database_url], env=dict(os.environ))
        for _ in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    assert reserved(database) == 200


def test_a_database_that_comes_back_is_used_again(
    postgresql: PostgresqlServer, postgresql_database: Database
) -> None:
    postgresql_database.write(lambda session: add_pools(session, "s01"))
    postgresql.stop()
    try:
        with pytest.raises(DatabaseUnavailable):
            postgresql_database.write(promise(1))
        with pytest.raises(DatabaseUnavailable):
            reserved(postgresql_database)
    finally:
        postgresql.start()
    postgresql_database.write(promise(1))
    assert reserved(postgresql_database) == 1


def _end(postgresql: PostgresqlServer, session: Session) -> None:
    """End this transaction's connection, from another one; returns when it is gone."""
    server = session.execute(text("SELECT pg_backend_pid()")).scalar_one()
    postgresql.execute(f"SELECT pg_terminate_backend({server}, 60000)")


def test_a_connection_lost_before_its_commit_is_replaced(
    postgresql: PostgresqlServer, postgresql_database: Database
) -> None:
    postgresql_database.write(lambda session: add_pools(session, "s01"))
    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        promise(1)(session)
        log_on_commit(session, "promised", run=len(runs))
        if len(runs) == 1:
            _end(postgresql, session)
        promise(1)(session)

    with capture_logs() as log:
        postgresql_database.write(work)
    assert len(runs) == 2
    assert reserved(postgresql_database) == 2, "nothing of the first run is left"
    assert log == [{"event": "promised", "log_level": "info", "run": 2}]


def test_a_connection_lost_in_its_commit_is_not_tried_again(
    postgresql: PostgresqlServer, postgresql_database: Database
) -> None:
    """It may have been lost behind the commit: what must not happen twice would."""
    postgresql_database.write(lambda session: add_pools(session, "s01"))
    runs = []

    def work(session: Session) -> None:
        runs.append(1)
        promise(1)(session)
        log_on_commit(session, "promised")
        _end(postgresql, session)

    with capture_logs() as log, pytest.raises(DatabaseUnavailable):
        postgresql_database.write(work)
    assert len(runs) == 1
    assert [each["event"] for each in log] == ["database unavailable"], "nobody knows of a promise"
    assert reserved(postgresql_database) == 0


def test_connections_that_died_while_idle_are_noticed_before_they_are_used(
    postgresql: PostgresqlServer,
    postgresql_database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("control.db.database.IDLE", 0.0)
    postgresql_database.write(lambda session: add_pools(session, "s01"))
    postgresql.stop()
    postgresql.start()
    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        promise(1)(session)

    postgresql_database.write(work)
    assert len(runs) == 1


def test_a_file_that_cant_be_opened_is_an_outage_too(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'control.sqlite'}")
    with pytest.raises(DatabaseUnavailable, match="unable to open"):
        database.write(promise(1))
    (tmp_path / "missing").mkdir()
    migrate(database)
    database.write(lambda session: add_pools(session, "s01"))
    assert reserved(database) == 0
    database.close()


def test_another_kind_of_database_is_refused() -> None:
    with pytest.raises(ValueError, match="neither sqlite nor postgresql"):
        Database("mysql://u:hunter2@h/d")


def test_a_checkpoint_brings_the_log_into_the_database_while_others_write(tmp_path: Path) -> None:
    path = tmp_path / "control.sqlite"
    database = Database(f"sqlite:///{path}")
    migrate(database)
    database.write(lambda session: add_pools(session, "s01"))
    database.write(promise(5))

    def work(session: Session) -> None:
        promise(7)(session)
        # Its own place is taken, the one who writes goes on.
        database.checkpoint()

    database.write(work)
    assert reserved(database) == 12
    # The file alone, without the log: what was committed before the checkpoint is in it.
    (tmp_path / "copy.sqlite").write_bytes(path.read_bytes())
    copied = Database(f"sqlite:///{tmp_path}/copy.sqlite")
    assert reserved(copied) == 5
    copied.close()
    database.close()


def test_a_checkpoint_is_safe_to_ask_for_on_either_database(database: Database) -> None:
    database.write(lambda session: add_pools(session, "s01"))
    database.checkpoint()
    database.write(promise(1))
    assert reserved(database) == 1


def test_on_a_full_disk_reading_goes_on_and_writing_does_once_there_is_room(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
    try:
        database = Database(f"sqlite:///{disk / 'control.sqlite'}")
        migrate(database)
        database.write(lambda session: add_pools(session, "s01"))
        hog = Hog(disk, "bytes")
        hog.move_in()
        hog.take()
        with pytest.raises(DatabaseUnavailable, match="full"):
            for _ in range(1000):
                # What the log has taken before is used first.
                database.write(promise(1))
        promised = reserved(database)
        assert promised < 1000
        hog.move_out()
        database.write(promise(1))
        assert reserved(database) == promised + 1
        database.close()
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
