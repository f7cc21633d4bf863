"""Files that are kept from everybody for a while: being checked, or taken down.

A held file is stored, copied and verified as every other; it is only not served. Its row says so to
the agent, its mode to nginx (`agent.storage.permissions`), its attributes to an index that is built
anew. A change is written to the row first, with a note that it isn't carried out on the disk yet:
from then on the agent refuses, or doesn't any more. A cut is finished at the next start. On the
disk a file is closed before all else and opened after all else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from agent.host import filesystem
from agent.index.database import Database
from agent.index.files import Delivery, add_deliveries, stored_of
from agent.outbox import cold_orders
from agent.outbox.events import SCAN
from agent.settings import Settings
from agent.storage import ending
from agent.storage.attributes import Attributes
from agent.storage.attributes import write as write_attributes
from agent.storage.permissions import set_data_mode
from agent.storage.quarantine import Kept, ended
from agent.storage.reserve import Reserve
from agent.storage.staging import translated
from portside.names import attributes_path
from portside.wire.files import SCANNER, HoldNote, StoredFile

_log = structlog.get_logger()

UNDONE_KEY = "hold-undone:"
"""A note with this and a file's id for a key: its row was changed, the disk perhaps not yet."""


def awaiting_scan(settings: Settings, namespace: str, now: datetime) -> HoldNote | None:
    """The note of a file that the scanner is to look at; None where there is none."""
    if namespace not in settings.scanned:
        return None
    return HoldNote(by=SCANNER, at=now, scan="waiting")


def awaits_scan(stored: StoredFile) -> bool:
    """Whether a file is held for the scanner, and by nobody else."""
    return stored.held and stored.hold is not None and stored.hold.scan == "waiting"


def is_scanners(stored: StoredFile) -> bool:
    """Whether nobody but the scanner holds a file, whatever it found: a copy is scanned anew."""
    return stored.held and stored.hold is not None and stored.hold.scan is not None


def set_held(
    settings: Settings, database: Database, file_id: str, *, held: bool, note: HoldNote | None
) -> StoredFile | None:
    """Hold a file or release it, durably; None when the node has no such file (any more).

    Without a note that of the file stays. One in quarantine, and one whose time is over, is changed
    too: it may come back.
    Raises DiskFull, DiskFailed or sqlite3.Error; once the row is written the next start finishes
    what is left to do.
    """
    # One whose end was cut short is brought out of nginx's reach first.
    ending.move(settings, database, (file_id,))
    stored = Reserve(settings).spend(lambda: _say(settings, database, file_id, held, note))
    if stored is not None:
        _do(settings, database, stored, note)
    return stored


def settle_scan(
    settings: Settings,
    database: Database,
    file_id: str,
    *,
    held: bool,
    note: HoldNote,
    told: Sequence[Delivery],
) -> StoredFile | None:
    """Carry out a scanner's verdict, and note down with it who is to be `told`; the scan is done.

    None when the file doesn't wait for one any more: somebody held or released it meanwhile, and
    that counts. Raises as `set_held`.
    """
    stored = Reserve(settings).spend(lambda: _judge(settings, database, file_id, held, note, told))
    if stored is not None:
        _do(settings, database, stored, note)
    return stored


def _do(settings: Settings, database: Database, stored: StoredFile, note: HoldNote | None) -> None:
    file_id, held = stored.file_id, stored.held
    Reserve(settings).spend(lambda: _carry_out(settings, database, file_id))
    _log.info(
        "file held" if held else "file released",
        file_id=file_id,
        path=str(stored.path),
        by=None if note is None else note.by,
        reason=None if note is None else note.reason,
    )


def finish_holds(settings: Settings, database: Database) -> int:
    """Carry out what a crash cut short; returns how many files that were. Raises as `set_held`."""
    rows = database.rows("SELECT key FROM notes WHERE key GLOB ?", (f"{UNDONE_KEY}*",))
    for (key,) in rows:
        _carry_out(settings, database, key.removeprefix(UNDONE_KEY))
    return len(rows)


def finish_hold(settings: Settings, database: Database, file_id: str) -> bool:
    """As `finish_holds`, of one file; whether there was anything to finish."""
    if database.note(UNDONE_KEY + file_id) is None:
        return False
    _carry_out(settings, database, file_id)
    return True


def _say(
    settings: Settings, database: Database, file_id: str, held: bool, note: HoldNote | None
) -> StoredFile | None:
    with database.transaction() as connection:
        found = _found(connection, file_id)
        if found is None:
            return None
        return _change(settings, connection, found[1], held, note or found[1].hold)


def _judge(
    settings: Settings,
    database: Database,
    file_id: str,
    held: bool,
    note: HoldNote,
    told: Sequence[Delivery],
) -> StoredFile | None:
    with database.transaction() as connection:
        connection.execute("DELETE FROM deliveries WHERE file_id = ? AND kind = ?", (file_id, SCAN))
        found = _found(connection, file_id)
        if found is None or not awaits_scan(found[1]):
            return None
        add_deliveries(connection, file_id, told)
        return _change(settings, connection, found[1], held, note)


def _change(
    settings: Settings,
    connection: sqlite3.Connection,
    before: StoredFile,
    held: bool,
    note: HoldNote | None,
) -> StoredFile:
    stored = before.model_copy(update={"held": held, "hold": note})
    file_id = before.file_id
    connection.execute(
        "UPDATE files SET stored = ? WHERE file_id = ?", (stored.model_dump_json(), file_id)
    )
    connection.execute("INSERT OR REPLACE INTO notes VALUES (?, '')", (UNDONE_KEY + file_id,))
    cold_orders.file_changed(connection, settings.cold, file_id, stored.namespace)
    return stored


def _carry_out(settings: Settings, database: Database, file_id: str) -> None:
    """Bring mode and attributes in line with the row. Of two at once the later finds it done.

    The index is held meanwhile, in every process: nobody moves or deletes the file.
    """
    with database.transaction() as connection:
        found = _found(connection, file_id)
        if found is not None:
            state, stored = found
            try:
                _write(settings, state, stored)
            except OSError as error:
                raise translated(error, f"holding or releasing {stored.path}") from error
        connection.execute("DELETE FROM notes WHERE key = ?", (UNDONE_KEY + file_id,))


def _write(settings: Settings, state: str, stored: StoredFile) -> None:
    data = settings.uploads / stored.path
    beside = settings.uploads / attributes_path(stored.path)
    if state != "COMMITTED":
        # No mode: nobody but the agent reads there, and the way back sets it by the row.
        place = Kept.of if state == "QUARANTINED" else ended
        _rewrite(settings, place(settings, stored.file_id).attributes, stored)
        return
    if stored.held:
        set_data_mode(settings, stored.namespace, data, held=True)
    _rewrite(settings, beside, stored)
    if not stored.held:
        set_data_mode(settings, stored.namespace, data, held=False)
    filesystem.of(settings.root).sync_directory(data.parent)


def _rewrite(settings: Settings, place: Path, stored: StoredFile) -> None:
    """Attributes that can't be read stay as they are: fsck writes them anew from the row."""
    try:
        before = Attributes.model_validate_json(place.read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    if before.file_id != stored.file_id:
        return
    after = before.model_copy(update={"held": stored.held, "hold": stored.hold})
    write_attributes(settings, place, after)


def _found(connection: sqlite3.Connection, file_id: str) -> tuple[str, StoredFile] | None:
    row = connection.execute(
        "SELECT state, stored FROM files WHERE file_id = ? "
        "AND state IN ('COMMITTED', 'QUARANTINED', 'ENDED')",
        (file_id,),
    ).fetchone()
    return None if row is None else (row[0], stored_of(row[1]))
