"""What is in quarantine: of which file, since when, why, and where else good copies are.

Damaged files have rows; what an index lost has attributes beside its data; what fsck set aside has
a note (`agent.integrity.repair`). Changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from agent.host.tree import Folder, walk
from agent.index.database import Database
from agent.index.search import copies_of
from agent.integrity import inspection
from agent.integrity.diagnosis import Row
from agent.integrity.repair import WHY_SUFFIX
from agent.outbox.cold_orders import STORED
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.layout import is_stray, quarantined_id
from agent.storage.quarantine import REASON_KEY, Kept
from portside.wire.quarantine import KEPT_ID_PATTERN, KeptAs, KeptFile, KnownCopy

ORDER_KEY = "quarantine-fetch:"
"""The note that a fetch is ordered has this and the id for a key, and for a value why it failed."""

_BATCH = 500
_MOST_NOTE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in quarantine. `attributes` are those that the file should have, where known."""

    kept_id: str
    kept_as: KeptAs
    reason: str
    attributes: Attributes | None
    places: Kept
    """Where its bytes and attributes are kept."""
    note: Path | None = None
    """fsck's, of what it set aside."""

    @property
    def kept_bytes(self) -> int | None:
        """Bytes that are there."""
        return inspection.size_of(self.places.data)

    @property
    def since(self) -> datetime | None:
        """When it came here: a rename changes its file's ctime, which nothing does afterwards."""
        kept = (self.places.data, self.places.attributes, self.note)
        found = [inspection.lstat(path) for path in kept if path is not None]
        times = [each.st_ctime for each in found if each is not None]
        return datetime.fromtimestamp(min(times), UTC) if times else None


class UnknownEntry(ValueError):
    """Nothing in quarantine has this id."""


def entries(settings: Settings, database: Database) -> list[Entry]:
    """Everything in quarantine, in order of ids. Raises OSError, sqlite3.Error."""
    found = {each.kept_id: each for each in _damaged(settings, database)}
    for entry in walk(settings.quarantine):
        if isinstance(entry, Folder):
            continue
        kept_id = quarantined_id(entry.name)
        if kept_id is None and is_stray(entry.name):
            kept_id = entry.name.partition(".")[0]
        if kept_id is not None and kept_id not in found:
            with suppress(UnknownEntry):
                found[kept_id] = one(settings, database, kept_id)
    return [found[kept_id] for kept_id in sorted(found)]


def one(settings: Settings, database: Database, kept_id: str) -> Entry:
    """What has this id. Raises UnknownEntry, OSError, sqlite3.Error."""
    places = Kept.of(settings, kept_id)
    if re.fullmatch(KEPT_ID_PATTERN, kept_id):
        if kept_id.startswith("stray-"):
            note = settings.quarantine / (kept_id + WHY_SUFFIX)
            if any(inspection.lstat(each) for each in (places.data, places.attributes, note)):
                return _set_aside(kept_id, places, note)
        else:
            row = inspection.row_of(database, kept_id)
            if row is not None and row.file_id == kept_id and row.state == "QUARANTINED":
                return _with_row(settings, database, row)
            if (without := _without_row(kept_id, places, row)) is not None:
                return without
    raise UnknownEntry(f"nothing in quarantine has the id {kept_id!r}: `portside-agent quarantine`")


def _damaged(settings: Settings, database: Database) -> Iterator[Entry]:
    last = ""
    while rows := inspection.rows_in(database, "QUARANTINED", last, _BATCH):
        for row in rows:
            yield _with_row(settings, database, row)
        last = rows[-1].file_id


def _with_row(settings: Settings, database: Database, row: Row) -> Entry:
    places = Kept.of(settings, row.file_id)
    kept = inspection.attributes_at(places.attributes)
    # They know the nodes of its copies and its upload's request, which the row doesn't.
    is_own = isinstance(kept, Attributes) and kept.stored() == row.file()
    reason = database.note(REASON_KEY + row.file_id) or "nobody noted down why"
    attributes = kept if is_own and isinstance(kept, Attributes) else row.attributes()
    return Entry(row.file_id, "damaged", reason, attributes, places)


def _without_row(file_id: str, places: Kept, row: Row | None) -> Entry | None:
    """Attributes and data whose row is lost, or that a good copy has come for."""
    kept = inspection.attributes_at(places.attributes)
    if isinstance(kept, Attributes) and kept.deleted_at is not None:
        # A tombstone: what was in quarantine was deleted.
        return None
    own = kept if isinstance(kept, Attributes) and kept.file_id == file_id else None
    size = inspection.size_of(places.data)
    if size is None and own is None:
        return None
    if row is not None and row.file_id == file_id:
        if row.state != "COMMITTED":
            # On its way somewhere: whoever is at it is about to say.
            return None
        return Entry(file_id, "left-over", "the file is in service again", own, places)
    return Entry(file_id, "unindexed", "the index has no row of it any more", own, places)


def _set_aside(kept_id: str, places: Kept, note: Path) -> Entry:
    said = _note(note)
    kept = inspection.attributes_at(places.attributes)
    attributes = kept if isinstance(kept, Attributes) and kept.deleted_at is None else None
    if attributes is None and said.get("row") is not None:
        with suppress(ValidationError):
            attributes = Attributes.model_validate(said["row"])
    reason = (
        f"set aside by fsck: {said['kind']} at uploads/{said.get('path')}: {said.get('detail')}"
        if "kind" in said
        else "set aside by fsck, whose note can't be read"
    )
    return Entry(kept_id, "set-aside", reason, attributes, places, note)


def _note(path: Path) -> dict[str, object]:
    if (inspection.size_of(path) or 0) > _MOST_NOTE:
        return {}
    try:
        said = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def described(settings: Settings, database: Database, entry: Entry) -> KeptFile:
    """An entry as people and programs are told of it. Raises OSError, sqlite3.Error."""
    file = entry.attributes
    copies: tuple[KnownCopy, ...] = ()
    backed_up = False
    if file is not None:
        copies = tuple(
            KnownCopy(node_id=each.node_id, confirmed_at=each.confirmed_at)
            for each in copies_of(database, file.file_id)
        )
        backed_up = settings.cold is not None and bool(database.note(STORED + file.file_id))
    return KeptFile(
        kept_id=entry.kept_id,
        kept_as=entry.kept_as,
        file_id=None if file is None else file.file_id,
        namespace=None if file is None else file.namespace,
        owner=None if file is None else file.owner,
        name=None if file is None else file.name,
        path=None if file is None else str(file.path),
        size=None if file is None else file.size,
        kept_bytes=entry.kept_bytes,
        since=entry.since,
        reason=entry.reason,
        copies=copies,
        backed_up=backed_up,
        ordered=_ordered(database, entry.kept_id),
        advice=_advice(entry, bool(copies), backed_up),
    )


def _ordered(database: Database, kept_id: str) -> str | None:
    note = database.note(ORDER_KEY + kept_id)
    if note is None:
        return None
    return f"could not be fetched: {note}" if note else "waits to be fetched"


def _advice(entry: Entry, copied: bool, backed_up: bool) -> str:
    kept_id = entry.kept_id
    if entry.kept_as == "left-over":
        return f"nothing is lost with it: `portside-agent quarantine settle {kept_id} --remove`"
    let_go = f"`portside-agent quarantine settle {kept_id} --remove --accept-loss`"
    if entry.attributes is None:
        return f"look at it, then: {let_go}"
    settle = f"`portside-agent quarantine settle {kept_id}` puts it back if its bytes are good"
    if copied or backed_up:
        return f"{settle}, else fetches good ones; with --remove this node's copy goes"
    return f"{settle}, else asks the other nodes for them; if nobody has it: {let_go}"


def remains(entry: Entry) -> tuple[Path, ...]:
    """Every file of an entry, the one that explains the others last."""
    kept = (entry.places.data, entry.places.attributes, entry.note)
    return tuple(path for path in kept if path is not None)
