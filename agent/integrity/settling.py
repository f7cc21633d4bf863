"""Settling what is in quarantine: put back, fetched from elsewhere, or removed.

Beside a working agent and its worker: every step that changes something holds the index and looks
again whether the file is still in quarantine, so that a push that brings good bytes, a deletion or
a second operator comes before or after it, never into it. Bytes are compared with their digest
before they are served again, and good ones that came from elsewhere are durable before they take
the damaged ones' place. Nothing is removed without a good copy elsewhere, unless its loss was
accepted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from agent.cluster.roster import Rosters
from agent.host import filesystem
from agent.host.sha256 import Sha256
from agent.index.database import Database
from agent.index.files import Delivery, FileIndex
from agent.index.search import copies_of
from agent.integrity import inspection
from agent.integrity.kept import ORDER_KEY, Entry, remains
from agent.outbox.events import RECEIPT
from agent.replication.elsewhere import Answer, Elsewhere, Unfetched
from agent.settings import Settings
from agent.storage.attributes import Attributes
from agent.storage.attributes import write as write_attributes
from agent.storage.commit import signed_again
from agent.storage.deletion import remove_damaged
from agent.storage.quarantine import REASON_KEY, Kept, move, put_back, replace_bytes
from agent.storage.staging import StagingFile, must_have_room, translated
from agent.storage.verification import DAMAGE, Pace, hash_file, mismatch
from portside.quantities import format_size
from portside.tokens import SigningKey

_log = structlog.get_logger()

PROVEN = timedelta(hours=1)
"""For so long a node's word that it has a good copy lets the one here go."""


class Unsettled(ValueError):
    """It stays in quarantine; the message says why."""


def _no_pace(size: int) -> None:
    """Nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Settler:
    """Settles what is in quarantine on one node.

    Every method raises Unsettled, DiskFull, DiskFailed or sqlite3.Error. `pace` is called with the
    bytes of each piece that was read: it may wait, or raise to stop.
    """

    settings: Settings
    database: Database
    key: SigningKey
    pace: Pace = _no_pace

    def restore(self, entry: Entry) -> str:
        """Read the bytes again, and put them back if they are good after all."""
        if damage := self._damage(entry):
            raise Unsettled(f"its bytes are not good: {damage}")
        file = self._in_quarantine(entry)
        self._put_back(file)
        return f"put back to uploads/{file.path}"

    def fetch(self, entry: Entry, elsewhere: Elsewhere) -> str:
        """Fetch good bytes from another node that has them, and put them back."""
        file = self._described(entry)
        tried = []
        for node in elsewhere.nodes():
            answer = elsewhere.ask(node, file, file.jti)
            self._note(file, answer)
            if answer.receipt is None:
                tried.append(f"{node.node_id}: {answer.said}")
                continue
            try:
                self._bring(entry, file, partial(elsewhere.fetch, node, file, file.jti))
            except Unfetched as error:
                tried.append(str(error))
                continue
            self._put_back(file)
            return f"fetched from {node.node_id} and put back to uploads/{file.path}"
        raise Unsettled(
            "no node has given a good copy: " + ("; ".join(tried) or "the roster has no other node")
        )

    def remove(self, entry: Entry, accept_loss: bool, backed_up: bool = False) -> str:
        """Remove it here. Without a good copy elsewhere only when its loss is accepted."""
        proven = "the file is in service" if entry.kept_as == "left-over" else ""
        if not proven and entry.attributes is not None:
            nodes = self.proven(entry.attributes)
            proven = f"{', '.join(nodes)} has it" if nodes else ""
        if not proven and backed_up:
            proven = "it is in the cold tier"
        if not proven and not accept_loss:
            raise Unsettled(f"no good copy is known elsewhere; lost would be {lost(entry)}")
        what = lost(entry)
        if entry.kept_as == "damaged":
            if not remove_damaged(self.settings, self.database, entry.kept_id):
                raise Unsettled("it is not in quarantine any more")
        else:
            self._unlink(entry)
        why = proven or "its loss was accepted"
        _log.warning("removed from quarantine", kept_id=entry.kept_id, what=what, why=why)
        return f"removed: {why}"

    def ask(self, entry: Entry, elsewhere: Elsewhere) -> list[Answer]:
        """Ask every other node for a good copy, and keep what each says."""
        if entry.attributes is None:
            return []
        file = entry.attributes
        answers = []
        for node in elsewhere.nodes():
            answers.append(elsewhere.ask(node, file, file.jti))
            self._note(file, answers[-1])
            self.pace(0)
        return answers

    def proven(self, file: Attributes) -> list[str]:
        """The nodes that said not long ago that they have a good copy."""
        since = datetime.now(UTC) - PROVEN
        copies = copies_of(self.database, file.file_id)
        return [each.node_id for each in copies if each.confirmed_at >= since]

    def _note(self, file: Attributes, answer: Answer) -> None:
        with self.database.transaction() as connection:
            if answer.receipt is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO copies VALUES (?, ?, ?, ?)",
                    (file.file_id, answer.node_id, answer.receipt, int(time.time())),
                )
            elif answer.is_word:
                connection.execute(
                    "DELETE FROM copies WHERE file_id = ? AND node_id = ?",
                    (file.file_id, answer.node_id),
                )

    def _described(self, entry: Entry) -> Attributes:
        if entry.kept_as == "left-over":
            raise Unsettled("the file is in service: only what is left over can be removed")
        if entry.attributes is None:
            raise Unsettled("nothing tells whose it is: it can only be removed")
        return entry.attributes

    def _damage(self, entry: Entry) -> str | None:
        """What is wrong with the bytes that are kept."""
        file = self._described(entry)
        self._bring_here(entry)
        try:
            found = hash_file(entry.places.data, self.pace)
        except FileNotFoundError:
            return "they are missing"
        except OSError as error:
            if error.errno in DAMAGE:
                return f"they can't be read: {error.strerror}"
            raise translated(error, f"reading {entry.places.data.name}") from error
        return mismatch(file, found)

    def _bring_here(self, entry: Entry) -> None:
        """Finish the way to the quarantine, where it was cut short."""
        if entry.kept_as == "damaged":
            move(self.settings, self.database, entry.kept_id)

    def _in_quarantine(self, entry: Entry) -> Attributes:
        """Give what has no row one, under its file's id; what it is described by."""
        file = self._described(entry)
        if entry.kept_as == "damaged":
            return file
        row = inspection.row_of(self.database, file.file_id, file.jti)
        if row is not None:
            raise Unsettled(f"the index gives its id or token to {row.path} ({row.state})")
        kept = Kept.of(self.settings, file.file_id)
        try:
            if entry.kept_as == "set-aside":
                self._rename(entry, file, kept)
            clashes = FileIndex(self.database).restore([(file.jti, file.stored())], "QUARANTINED")
            for each in remains(entry) if entry.kept_as == "set-aside" else ():
                each.unlink(missing_ok=True)
        except OSError as error:
            raise translated(error, f"taking {entry.kept_id} up again") from error
        if clashes:
            raise Unsettled("the index gives its id or token to another file")
        self.database.take_note(REASON_KEY + file.file_id, entry.reason)
        return file

    def _rename(self, entry: Entry, file: Attributes, kept: Kept) -> None:
        """From the name that fsck gave it to its file's own. A cut leaves either, with the note."""
        if inspection.lstat(kept.data) is not None or inspection.lstat(kept.attributes) is not None:
            raise Unsettled(f"{file.file_id} is in quarantine as well: settle that first")
        write_attributes(self.settings, kept.attributes, file)
        if inspection.lstat(entry.places.data) is not None:
            entry.places.data.rename(kept.data)
        filesystem.of(self.settings.root).sync_directory(self.settings.quarantine)

    def _put_back(self, file: Attributes) -> None:
        fresh = signed_again(file.stored(), file.jti, self.key)
        attributes = file.model_copy(update={"receipt": fresh.receipt})
        control_url = Rosters(self.settings).current().control_url
        deliveries = [] if control_url is None else [Delivery(RECEIPT, control_url)]
        try:
            put_back(self.settings, self.database, attributes, deliveries)
        except (FileExistsError, FileNotFoundError) as error:
            raise Unsettled(f"it can't be put back: {error}") from None
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM notes WHERE key = ?", (ORDER_KEY + file.file_id,))

    def _bring(
        self,
        entry: Entry,
        file: Attributes,
        fetch: Callable[[Callable[[memoryview], None]], None],
    ) -> None:
        """Good bytes in place of the damaged ones. Raises Unfetched when they aren't good."""
        sizing = self.settings.sizing
        must_have_room(self.settings.root, file.size, sizing.disk_kept_free)
        digest = Sha256()
        with StagingFile.create(
            self.settings.staging, file.file_id, sizing, filesystem.of(self.settings.root)
        ) as staging:
            staging.reserve(file.size)

            def take(piece: memoryview) -> None:
                digest.update(piece)
                staging.write(piece)
                self.pace(len(piece))

            fetch(take)
            if digest.hexdigest() != file.sha256:
                raise Unfetched(f"bytes came with SHA-256 {digest.hexdigest()}: not the file's")
            staging.make_durable()
            self._bring_here(entry)
            self._in_quarantine(entry)
            if not replace_bytes(self.settings, self.database, file.file_id, staging.path):
                raise Unsettled("it is not in quarantine any more")
            staging.keep()

    def _unlink(self, entry: Entry) -> None:
        """Remove what has no row in quarantine, unless one came meanwhile."""
        file_id = None if entry.attributes is None else entry.attributes.file_id
        with self.database.transaction() as connection:
            row = connection.execute(
                "SELECT state FROM files WHERE file_id = ?", (entry.kept_id,)
            ).fetchone()
            if row is not None and row[0] != "COMMITTED":
                raise Unsettled("it is in other hands by now: look again")
            try:
                for each in remains(entry):
                    each.unlink(missing_ok=True)
                filesystem.of(self.settings.root).sync_directory(self.settings.quarantine)
            except OSError as error:
                raise translated(error, f"removing {entry.kept_id}") from error
            connection.execute(
                "DELETE FROM copies WHERE file_id = ? "
                "AND NOT EXISTS (SELECT 1 FROM files WHERE files.file_id = copies.file_id)",
                (file_id,),
            )


def lost(entry: Entry) -> str:
    """What is gone for good with an entry that nobody else has, in words for people."""
    kept = entry.kept_bytes
    here = "no bytes" if kept is None else f"{format_size(kept)} of bytes"
    if entry.attributes is None:
        return f"{here} of which nothing tells whose they are"
    file = entry.attributes
    return f"{file.path} ({file.name!r} of {file.owner!r}, {format_size(file.size)}; here: {here})"
