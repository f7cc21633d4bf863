"""What happens for each session, heartbeat, receipt and deletion never scans a table.

Seen on SQLite, whose plans don't depend on how much is in a table; the indexes are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from control.cluster import snapshot
from control.db.database import Database
from control.replication import leases
from control.worker import expiry
from tests.support.control.cluster import done
from tests.support.control.core import Core


@pytest.fixture
def core(tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    # What a snapshot reads is all there is of nodes and pools, once a second: not per request.
    monkeypatch.setattr(snapshot, "REFRESH", 3600.0)
    monkeypatch.setattr(snapshot, "LONGEST", 3600.0)
    path = tmp_path / "control.sqlite"
    path.write_bytes(migrated_sqlite.read_bytes())
    database = Database(f"sqlite:///{path}")
    core = Core(tmp_path, database, f"sqlite:///{path}")
    core.all_report()
    core.snapshots.current()
    core.sessions.server(1, None)
    yield core
    database.close()


@contextmanager
def statements(core: Core) -> Iterator[list[tuple[str, Any]]]:
    """What the database is asked meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(conn: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        seen.append((statement, parameters))

    event.listen(core.database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(core.database.engine, "before_cursor_execute", note)


_SMALL = {
    # The one row that an expression makes.
    "SCAN CONSTANT ROW",
    # An index of the leases that are out: some for each node at most.
    "SCAN work USING INDEX ix_work_leased",
}


def scans(core: Core, seen: list[tuple[str, Any]]) -> list[str]:
    """The statements whose plan goes through a whole table."""
    found = []
    with core.database.engine.connect() as connection:
        for statement, parameters in seen:
            if statement.split()[0] not in ("SELECT", "UPDATE", "DELETE"):
                continue
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            steps = [str(row[3]) for row in plan]
            if any(step.startswith("SCAN ") and step not in _SMALL for step in steps):
                found.append(f"{statement}: {steps}")
    return found


def test_hot_paths_go_by_indexes(core: Core) -> None:
    with statements(core) as seen:
        core.sessions.open(core.wish("key-1"), core.clock.now)
        session = core.sessions.open(core.wish(name="b.iso", layout="named"), core.clock.now)[0]
        for node_id in (session.node_id, *session.replicas):
            core.takes(core.nodes.receipt_of(session, core.clock.now, node_id, path="files/b.iso"))
        core.on_file(
            session.file_id,
            lambda s, file: leases.order_deletion(
                s, file, session.node_id, "drain", core.clock.now, tombstone=False
            ),
        )
        core.clock.pass_by(1)
        beat = core.nodes.heartbeat(session.node_id, core.clock.now)
        token, body = core.nodes.signed(beat)
        [lease] = core.heartbeats.receive(session.node_id, token, body, core.clock.now).work
        core.clock.pass_by(1)
        beat = core.nodes.heartbeat(session.node_id, core.clock.now, work=[done(lease.lease_id)])
        token, body = core.nodes.signed(beat)
        core.heartbeats.receive(session.node_id, token, body, core.clock.now)
        expiry.expire_sessions(core.database, core.clock.now)
        expiry.give_up_copies(core.database, core.clock.now)
        core.database.write(lambda s: leases.give_back_expired(s, core.clock.now))
        expiry.purge(core.database, core.clock.now)
        expiry.Forgetting(core.database).round(core.clock.now)
    asked = [statement for statement, _ in seen]
    for table in ("pools", "sessions", "files", "copies", "work", "nodes"):
        assert any(table in statement for statement in asked), table
    assert scans(core, seen) == []
