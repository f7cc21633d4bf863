"""The tables of the node's SQLite file, and the steps that lead to them from older ones.

What they hold about files can be rebuilt from the attributes beside them
(`agent.integrity.reindex`); uploads under way, waiting deliveries and notes live here alone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

_FILES = """
CREATE TABLE files (
    file_id TEXT PRIMARY KEY,
    jti TEXT NOT NULL UNIQUE,
    path TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state IN ('PENDING', 'COMMITTED', 'DELETING', 'DELETED', 'QUARANTINED')),
    staging TEXT NOT NULL,
    stored TEXT NOT NULL,
    namespace TEXT NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    content_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    committed_at INTEGER NOT NULL,
    verified_at INTEGER
) STRICT;
CREATE UNIQUE INDEX files_at_path ON files (path)
    WHERE state IN ('PENDING', 'COMMITTED', 'DELETING');
CREATE INDEX files_by_time ON files (committed_at, file_id) WHERE state = 'COMMITTED';
CREATE INDEX files_by_namespace ON files (namespace, committed_at, file_id)
    WHERE state = 'COMMITTED';
CREATE INDEX files_by_owner ON files (owner, committed_at, file_id) WHERE state = 'COMMITTED';
CREATE INDEX files_by_verification ON files (verified_at, file_id) WHERE state = 'COMMITTED';
CREATE INDEX files_by_size ON files (size, state) WHERE state = 'COMMITTED';
CREATE INDEX files_unsettled ON files (state) WHERE state != 'COMMITTED';

CREATE TABLE uploads (
    upload_id TEXT PRIMARY KEY,
    jti TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('whole', 'part', 'final')),
    state TEXT NOT NULL CHECK (state IN ('OPEN', 'COMPLETE', 'GONE')),
    staging TEXT NOT NULL,
    path TEXT,
    start INTEGER NOT NULL,
    length INTEGER,
    offset INTEGER NOT NULL,
    hash_state BLOB,
    deadline INTEGER NOT NULL,
    details TEXT NOT NULL
) STRICT;
CREATE INDEX uploads_by_token ON uploads (jti);
CREATE INDEX uploads_by_deadline ON uploads (deadline);
CREATE INDEX uploads_by_staging ON uploads (staging) WHERE state = 'OPEN';
CREATE INDEX uploads_by_path ON uploads (path) WHERE state = 'OPEN';

CREATE TABLE deliveries (
    delivery_id INTEGER PRIMARY KEY,
    file_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('WAITING', 'DEAD')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    UNIQUE (file_id, kind, target)
) STRICT;
CREATE INDEX deliveries_due ON deliveries (state, due);

CREATE TABLE notes (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
"""A query on states uses `files_unsettled` only if it says `state != 'COMMITTED'` in these words,
whatever else it says about the state (sqlite.org/partialindex.html); otherwise it reads every row.

Times: `committed_at` and `verified_at` in microseconds, `deadline` and `due` in seconds, UTC."""

_REPLICATION = """
CREATE TABLE pushes (
    push_id INTEGER PRIMARY KEY,
    file_id TEXT NOT NULL,
    target TEXT NOT NULL,
    own INTEGER NOT NULL,
    bytes_per_second INTEGER,
    state TEXT NOT NULL CHECK (state IN ('WAITING', 'DEAD')),
    attempts INTEGER NOT NULL DEFAULT 0,
    due INTEGER NOT NULL,
    ordered_at INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT '',
    UNIQUE (file_id, target)
) STRICT;
CREATE INDEX pushes_due ON pushes (state, due);

CREATE TABLE push_leases (
    lease_id TEXT PRIMARY KEY,
    file_id TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT CHECK (outcome IN ('done', 'failed', 'missing')),
    detail TEXT NOT NULL DEFAULT '',
    receipt TEXT
) STRICT;
CREATE INDEX push_leases_open ON push_leases (file_id, target) WHERE outcome IS NULL;

CREATE TABLE copies (
    file_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    receipt TEXT NOT NULL,
    confirmed_at INTEGER NOT NULL,
    PRIMARY KEY (file_id, node_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE departed (
    file_id TEXT PRIMARY KEY,
    jti TEXT NOT NULL,
    removed_at INTEGER NOT NULL
) STRICT;
CREATE INDEX departed_tokens ON departed (jti);
"""
"""`pushes` are copies to be made on other nodes: `own` ones by this node's or its token's word, the
others for the `push_leases` that are open. `copies` are the other nodes' receipts. `departed` are
files whose copy here was removed although the file lives on: their tokens stay used.

Times: `due`, `ordered_at`, `confirmed_at` and `removed_at` in seconds, UTC."""

_CONTROL = """
CREATE TABLE revoked (jti TEXT PRIMARY KEY, told_at INTEGER NOT NULL) STRICT;

CREATE TABLE leases (
    lease_id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('TAKEN', 'BEGUN', 'ENDED', 'TOLD')),
    lease TEXT NOT NULL,
    until INTEGER NOT NULL,
    done TEXT
) STRICT;
CREATE INDEX leases_by_state ON leases (state, until, lease_id);

CREATE TABLE inventory_changes (file_id TEXT NOT NULL) STRICT;
CREATE TRIGGER file_came AFTER INSERT ON files
    WHEN NEW.state = 'COMMITTED'
    BEGIN INSERT INTO inventory_changes VALUES (NEW.file_id); END;
CREATE TRIGGER file_changed AFTER UPDATE OF state ON files
    WHEN (OLD.state = 'COMMITTED') != (NEW.state = 'COMMITTED')
    BEGIN INSERT INTO inventory_changes VALUES (NEW.file_id); END;
CREATE TRIGGER file_went AFTER DELETE ON files
    WHEN OLD.state = 'COMMITTED'
    BEGIN INSERT INTO inventory_changes VALUES (OLD.file_id); END;
INSERT INTO inventory_changes SELECT file_id FROM files WHERE state = 'COMMITTED';
"""
"""What the control plane told: tokens that count no more, and work. `inventory_changes` are files
that came in or went out since the inventory's digest was last worked out
(`agent.index.inventory_digest`).

Times: `told_at` and `until` in seconds, UTC."""

_COPIES_COUNTED = "CREATE INDEX copies_by_node ON copies (node_id);"
"""To count copies without reading a receipt each."""

_FORMER = """
CREATE TABLE former (
    number INTEGER PRIMARY KEY,
    path TEXT NOT NULL UNIQUE,
    file_id TEXT NOT NULL,
    name TEXT NOT NULL,
    fate TEXT NOT NULL CHECK (fate IN ('moved', 'deleted'))
) STRICT;
CREATE INDEX former_files ON former (file_id);
CREATE TRIGGER file_deleted AFTER UPDATE OF state ON files
    WHEN NEW.state = 'DELETED'
    BEGIN INSERT OR REPLACE INTO former (path, file_id, name, fate)
        VALUES (NEW.path, NEW.file_id, NEW.name, 'deleted'); END;
CREATE TRIGGER tombstone_found AFTER INSERT ON files
    WHEN NEW.state = 'DELETED'
    BEGIN INSERT OR REPLACE INTO former (path, file_id, name, fate)
        VALUES (NEW.path, NEW.file_id, NEW.name, 'deleted'); END;
CREATE TRIGGER file_condemned AFTER UPDATE OF state ON files
    WHEN NEW.state = 'QUARANTINED'
    BEGIN INSERT OR REPLACE INTO former (path, file_id, name, fate)
        VALUES (NEW.path, NEW.file_id, NEW.name, 'moved'); END;
CREATE TRIGGER copy_left AFTER DELETE ON files
    WHEN OLD.state IN ('COMMITTED', 'DELETING')
    BEGIN INSERT OR REPLACE INTO former (path, file_id, name, fate)
        VALUES (OLD.path, OLD.file_id, OLD.name, 'moved'); END;
INSERT OR REPLACE INTO former (path, file_id, name, fate)
    SELECT path, file_id, name, CASE state WHEN 'DELETED' THEN 'deleted' ELSE 'moved' END FROM files
    WHERE state IN ('DELETED', 'QUARANTINED') AND state != 'COMMITTED' ORDER BY committed_at;
"""
"""What this node had at which path and has no more, by whatever way it went: `agent.index.former`.
The last one at a path counts; `number` rises with time."""

_PROMISES = """
ALTER TABLE uploads ADD COLUMN promised INTEGER NOT NULL DEFAULT 0;
UPDATE uploads SET promised = length WHERE length IS NOT NULL;
CREATE INDEX uploads_promised ON uploads (promised) WHERE state = 'OPEN' AND promised > 0;
"""
"""Bytes of disk that an upload can come to take, as it was told at its beginning."""

_LIFETIMES = """
CREATE TABLE ended (
    file_id TEXT PRIMARY KEY,
    lived INTEGER NOT NULL,
    moved INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX ended_by_time ON ended (lived, file_id) WHERE moved = 1;
CREATE INDEX ended_unmoved ON ended (moved, file_id) WHERE moved = 0;
CREATE INDEX files_by_end ON files
    (state, CASE WHEN json_valid(stored) THEN json_extract(stored, '$.expires_at') END)
    WHERE CASE WHEN json_valid(stored) THEN json_extract(stored, '$.expires_at') END IS NOT NULL;
CREATE TRIGGER file_ended AFTER UPDATE OF state ON files
    WHEN NEW.state = 'ENDED' AND OLD.state != 'ENDED'
    BEGIN INSERT OR REPLACE INTO ended (file_id, lived) VALUES (NEW.file_id,
        coalesce((SELECT CAST(value AS INTEGER) FROM notes WHERE key = 'lived'), 0));
    INSERT OR REPLACE INTO former (path, file_id, name, fate)
        VALUES (NEW.path, NEW.file_id, NEW.name, 'deleted'); END;
CREATE TRIGGER ended_found AFTER INSERT ON files
    WHEN NEW.state = 'ENDED'
    BEGIN INSERT OR REPLACE INTO ended (file_id, lived) VALUES (NEW.file_id,
        coalesce((SELECT CAST(value AS INTEGER) FROM notes WHERE key = 'lived'), 0));
    INSERT OR IGNORE INTO former (path, file_id, name, fate)
        VALUES (NEW.path, NEW.file_id, NEW.name, 'deleted'); END;
CREATE TRIGGER ended_over AFTER UPDATE OF state ON files
    WHEN OLD.state = 'ENDED' AND NEW.state != 'ENDED'
    BEGIN DELETE FROM ended WHERE file_id = NEW.file_id; END;
CREATE TRIGGER ended_went AFTER DELETE ON files
    WHEN OLD.state = 'ENDED'
    BEGIN DELETE FROM ended WHERE file_id = OLD.file_id; END;
DROP TRIGGER file_came;
DROP TRIGGER file_changed;
DROP TRIGGER file_went;
CREATE TRIGGER file_came AFTER INSERT ON files
    WHEN NEW.state IN ('COMMITTED', 'ENDED')
    BEGIN INSERT INTO inventory_changes VALUES (NEW.file_id); END;
CREATE TRIGGER file_changed AFTER UPDATE OF state ON files
    WHEN (OLD.state IN ('COMMITTED', 'ENDED')) != (NEW.state IN ('COMMITTED', 'ENDED'))
    BEGIN INSERT INTO inventory_changes VALUES (NEW.file_id); END;
CREATE TRIGGER file_went AFTER DELETE ON files
    WHEN OLD.state IN ('COMMITTED', 'ENDED')
    BEGIN INSERT INTO inventory_changes VALUES (OLD.file_id); END;
"""
"""`ended` are the files in state ENDED: their time is over and their bytes are kept, `moved` out of
nginx's reach. `lived` is how long the node had lived when they ended, in seconds in which its clock
was believed (the note of that name): a clock that jumps ends no grace. Their ids stay in the
inventory's digest: the bytes are here, and that they end nobody has to be told."""

_STATES = "'DELETED', 'QUARANTINED')"
_STATES_WITH_ENDED = "'DELETED', 'QUARANTINED', 'ENDED')"
"""What the check of `files.state` ends with before and since `_LIFETIMES`. A check that allows more
touches no row: rewriting a million of them would keep a start waiting
(sqlite.org/lang_altertable.html, at its end)."""

_PROOFS = "ALTER TABLE pushes ADD COLUMN proof TEXT;"
"""What lets the target take the copy: `portside.orders.copies`."""

_REVOKED_HERE = """
CREATE TABLE revoked_here (
    token_id TEXT PRIMARY KEY,
    revoked_at INTEGER NOT NULL,
    until INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;
"""
"""Tokens that were revoked on this node itself, `until` they would have ended. A table of its own:
a release that is taken back writes to the other one as it has it. Times in seconds, UTC."""

_USAGE = """
CREATE TABLE usage (
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (owner, state)
) STRICT, WITHOUT ROWID;
INSERT INTO usage SELECT owner, state, count(*), sum(size) FROM files
    WHERE state != 'DELETED' GROUP BY owner, state;
CREATE TRIGGER usage_came AFTER INSERT ON files
    WHEN NEW.state != 'DELETED'
    BEGIN INSERT INTO usage VALUES (NEW.owner, NEW.state, 1, NEW.size)
        ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes; END;
CREATE TRIGGER usage_went AFTER DELETE ON files
    WHEN OLD.state != 'DELETED'
    BEGIN UPDATE usage SET files = files - 1, bytes = bytes - OLD.size
        WHERE owner = OLD.owner AND state = OLD.state;
    DELETE FROM usage WHERE owner = OLD.owner AND state = OLD.state AND files = 0; END;
CREATE TRIGGER usage_changed AFTER UPDATE OF state, owner, size ON files
    WHEN (OLD.state, OLD.owner, OLD.size) != (NEW.state, NEW.owner, NEW.size)
    BEGIN UPDATE usage SET files = files - 1, bytes = bytes - OLD.size
        WHERE owner = OLD.owner AND state = OLD.state;
    DELETE FROM usage WHERE owner = OLD.owner AND state = OLD.state AND files = 0;
    INSERT INTO usage SELECT NEW.owner, NEW.state, 1, NEW.size WHERE NEW.state != 'DELETED'
        ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + excluded.bytes; END;
CREATE INDEX uploads_by_owner ON uploads
    (CASE WHEN json_valid(details) THEN json_extract(details, '$.claims.sub') END, jti)
    WHERE state = 'OPEN';
"""
"""What each owner has here, by the state that it is in: all that takes room, so nothing DELETED.
Triggers keep it, in the transaction that changes a file, whoever changes it: to add up a million
files of one owner took 120 ms with an index of their sizes, and each upload asks twice."""

_TRACES = """
ALTER TABLE deliveries ADD COLUMN trace TEXT;
ALTER TABLE pushes ADD COLUMN trace TEXT;
"""
"""The span that a row was written in (`portside.tracing`), so that what is done later, perhaps by a
process that starts later, is found by the id of what caused it."""

_STEPS = (
    (2, _FILES),
    (3, _CONTROL),
    (4, _REPLICATION),
    (5, _COPIES_COUNTED),
    (6, _FORMER),
    (7, _PROMISES),
    (8, _LIFETIMES),
    (9, _PROOFS),
    (10, _REVOKED_HERE),
    (11, _USAGE),
    (12, _TRACES),
)
"""Versions of the schema and what makes each of the one before. A step, once released, stays."""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make what is missing, within the transaction that is under way. Raises sqlite3.Error."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    # A newer release's is taken as it is: steps only add, so that a release can be taken back.
    for number, script in _STEPS:
        if number <= version:
            continue
        for statement in _statements(script):
            connection.execute(statement)
        if script == _LIFETIMES:
            _allow_ended(connection)
        connection.execute(f"PRAGMA user_version = {number}")


def _allow_ended(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute(
        "UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE type = 'table' AND name = 'files'",
        (_STATES, _STATES_WITH_ENDED),
    )
    # This connection reads it anew; others do because the step changes other tables too.
    connection.execute("PRAGMA writable_schema = RESET")


def _statements(script: str) -> Iterator[str]:
    """One after the other: `executescript` would commit what came before it."""
    statement = ""
    for piece in script.split(";"):
        statement += f"{piece};"
        # Within a trigger there are semicolons too.
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
