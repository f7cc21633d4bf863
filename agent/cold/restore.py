"""Bringing files back from the cold tier, beside a working agent or onto an empty disk.

An object's bytes take the write path of an upload: staging, digest, fsync, attributes, commit. What
is there is left alone, so a run that was cut short is gone on with by running it again. An object
whose bytes don't give the SHA-256 in its metadata is refused and reported.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from agent.cluster.roster import Rosters
from agent.cold.bucket import ColdStore, Found, Listed
from agent.cold.meanings import ColdError, StoreRefused
from agent.cold.object_format import DELETED, ColdFile, NotOurs
from agent.cold.queue import ColdQueue
from agent.cold.said import CHANGED, MOST, Said, changed_key
from agent.host import filesystem
from agent.host.sha256 import Sha256
from agent.index.database import Database
from agent.index.files import FileIndex, Intent
from agent.integrity.inspection import size_of
from agent.problems import ProblemError
from agent.settings import Cold, Settings
from agent.storage.commit import Committer
from agent.storage.holds import awaiting_scan
from agent.storage.quarantine import quarantine
from agent.storage.staging import StagingFile, must_have_room
from agent.storage.verification import Hashed, hash_file, mismatch
from portside.backoff import Backoff
from portside.cluster.lifetimes import has_ended
from portside.names import ATTRIBUTES_SUFFIX
from portside.quantities import MIB
from portside.tokens import RECEIPT_AUDIENCE, SigningKey, mint_receipt
from portside.wire import paths
from portside.wire.claims import ReceiptClaims
from portside.wire.files import StoredFile

_log = structlog.get_logger()

_BLOCK = 1 * MIB
_TRIES = 5
"""Times in a row that a download may be cut without a byte between."""

_PAUSES = Backoff(first=5.0, longest=60.0, spread=(0.8, 1.0))
"""Before a download that was cut goes on: a minute in all, in which a service restarts."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which files: those below a prefix (of paths, `isos/2026/`), or one by its id.

    With `digests` what is there is read again, instead of having its size looked at.
    """

    prefix: str = ""
    file_id: str | None = None
    digests: bool = False


@dataclass(slots=True)
class Restored:
    """What a run came to. Files, but for `size`, the bytes of those restored."""

    restored: int = 0
    size: int = 0
    intact: int = 0
    deleted: int = 0
    ended: int = 0
    """Whose time is over: they are not brought back."""
    refused: int = 0


class _Refused(Exception):
    """A file that isn't restored; the message says why."""


class Restore:
    """Restores files of one node. `wait` sleeps between attempts."""

    def __init__(
        self,
        settings: Settings,
        cold: Cold,
        database: Database,
        store: ColdStore,
        key: SigningKey,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._cold = cold
        self._database = database
        self._queue = ColdQueue(database, cold)
        self._store = store
        self._key = key
        self._wait = wait
        # Who was told of a file at its upload isn't told again.
        quiet = settings.model_copy(update={"hooks": (), "cold": None})
        self._committer = Committer(quiet, FileIndex(database), key)
        self._changed = set[str]()

    def run(self, wanted: Wanted) -> Restored:
        """Restore what is wanted. Raises ColdError, DiskFull, DiskFailed, sqlite3.Error.

        What went before such an end stays restored.
        """
        total = Restored()
        deleted, self._changed = self._named_by(DELETED), self._named_by(CHANGED)
        for each in self._objects(wanted):
            try:
                self._one(each, wanted, deleted, total)
            except (_Refused, NotOurs, StoreRefused, ProblemError) as error:
                total.refused += 1
                reason = error.detail if isinstance(error, ProblemError) else str(error)
                _log.error("not restored", key=each.key, reason=reason)
        return total

    def _named_by(self, markers: str) -> set[str]:
        """The files of which there are such small objects."""
        listed = self._store.listing(self._cold.prefix + markers)
        return {each.key.rpartition("/")[2] for each in listed}

    def _objects(self, wanted: Wanted) -> Iterator[Listed]:
        markers = (self._cold.prefix + DELETED, self._cold.prefix + CHANGED)
        for each in self._candidates(wanted):
            if not each.key.startswith(markers):
                yield each

    def _candidates(self, wanted: Wanted) -> Iterator[Listed]:
        if wanted.file_id is None:
            yield from self._store.listing(self._cold.prefix + wanted.prefix)
            return
        address = self._queue.address(wanted.file_id)
        key = None if address is None else self._cold.key(address)
        known = None if key is None else self._store.head(key)
        if key is not None and known is not None:
            yield Listed(key, known.size)
            return
        # A dated path has the beginning of the id in it: those come first.
        listed = list(self._store.listing(self._cold.prefix + wanted.prefix))
        listed.sort(key=lambda each: str(wanted.file_id)[:8] not in each.key)
        for each in listed:
            found = self._store.head(each.key)
            if found is not None and _id_of(found) == wanted.file_id:
                yield each
                return

    def _one(self, each: Listed, wanted: Wanted, deleted: set[str], total: Restored) -> None:
        # Without a HEAD: a run over a million files that are there is over in minutes.
        if not wanted.digests and self._is_there(each):
            total.intact += 1
            return
        found = self._store.head(each.key)
        if found is None:
            return
        file = ColdFile.from_metadata(found.metadata)
        if found.size != file.size:
            raise _Refused(f"the object is damaged: {found.size} bytes instead of {file.size}")
        state = self._state(file.file_id)
        if file.file_id in deleted or state in ("DELETING", "DELETED", "ENDED"):
            total.deleted += 1
            return
        if state == "PENDING":
            raise _Refused("its commit is under way: run this again")
        said = self._said(file)
        if state is None and has_ended(said.expires_at, time.time()):
            total.ended += 1
            return
        damage = self._damage(file, wanted) if state == "COMMITTED" else None
        if state == "COMMITTED" and damage is None:
            total.intact += 1
            self._note(file, each.key)
            return
        self._bring_back(each.key, found, file, None if state else said, damage)
        self._note(file, each.key)
        total.restored += 1
        total.size += file.size

    def _is_there(self, each: Listed) -> bool:
        path = each.key.removeprefix(self._cold.prefix)
        row = self._database.row(
            "SELECT file_id, size FROM files WHERE path = ? AND state = 'COMMITTED'", (path,)
        )
        return (
            row is not None
            and self._queue.address(row[0]) == self._cold.address(each.key)
            and row[1] == each.size == size_of(self._settings.uploads / path)
            and size_of(self._settings.uploads / (path + ATTRIBUTES_SUFFIX)) is not None
        )

    def _state(self, file_id: str) -> str | None:
        row = self._database.row("SELECT state FROM files WHERE file_id = ?", (file_id,))
        return None if row is None else str(row[0])

    def _damage(self, file: ColdFile, wanted: Wanted) -> str | None:
        """What is wrong with a committed file, in words for people. Raises OSError."""
        stored = FileIndex(self._database).find(file.file_id)
        if stored is None:
            return None
        if (stored.path, stored.sha256) != (file.path, file.sha256):
            raise _Refused(f"{stored.path} has its id and other content")
        path = self._settings.uploads / file.path
        size = size_of(path)
        if size is None:
            return "its data is missing"
        found = hash_file(path) if wanted.digests else Hashed(file.sha256, size)
        return mismatch(stored, found)

    def _said(self, file: ColdFile) -> Said:
        """What was said last of a file, as far as the bucket knows. Raises ColdError."""
        later = None
        if file.file_id in self._changed:
            key = changed_key(self._cold.prefix, file.file_id)
            text = self._store.marker(key, MOST)
            later = Said.in_marker(text)
            if text is not None and later is None:
                raise _Refused(f"{key} can't be read: it may say that the file is held or over")
        # Where nothing is told of what was released, held is the safe answer.
        return later or file.said or Said(held=file.namespace in self._settings.held)

    def _bring_back(
        self, key: str, found: Found, file: ColdFile, said: Said | None, damage: str | None
    ) -> None:
        """`said` is of a file that this node doesn't know; `damage` of one that it serves."""
        must_have_room(self._settings.root, file.size, self._settings.sizing.disk_kept_free)
        with StagingFile.create(
            self._settings.staging,
            file.file_id,
            self._settings.sizing,
            filesystem.of(self._settings.root),
        ) as staging:
            staging.reserve(file.size)
            digest = self._download(key, found, staging)
            if staging.size != file.size or digest != file.sha256:
                raise _Refused(
                    f"the object is damaged: {staging.size} bytes with SHA-256 {digest} instead "
                    f"of {file.size} with {file.sha256}"
                )
            staging.make_durable()
            if said is None:
                self._put_back(file, staging, damage)
            else:
                self._commit(file, said, staging)
        _log.info("file restored", file_id=file.file_id, path=str(file.path), size=file.size)

    def _put_back(self, file: ColdFile, staging: StagingFile, damage: str | None) -> None:
        """Good bytes for damaged ones; what this node knows of the file stays as it is."""
        if damage is not None:
            quarantine(self._settings, self._database, file.file_id, damage)
        try:
            self._committer.repair(self._database, file.file_id, staging)
        except (FileExistsError, FileNotFoundError) as error:
            raise _Refused(f"it can't be put back: {error}") from None

    def _commit(self, file: ColdFile, said: Said, staging: StagingFile) -> None:
        stored = self._described(file, said)
        intent = Intent(file.jti, staging.path.name, stored, file.request_id)
        try:
            self._committer.commit(intent)
        finally:
            # Whatever an error left half done, the next start finishes it or sweeps it.
            staging.keep()

    def _download(self, key: str, found: Found, staging: StagingFile) -> str:
        """The object's bytes into staging; a cut one goes on where it was. Returns the SHA-256."""
        digest = Sha256()
        failures = 0
        # Anonymous memory begins on a page's boundary, as direct I/O wants it.
        with mmap.mmap(-1, _BLOCK) as memory, memoryview(memory) as buffer:
            filled = 0
            while staging.size + filled < found.size:
                before = staging.size + filled
                try:
                    with self._store.reading(key, found.etag, before) as stream:
                        while data := stream.read(_BLOCK - filled):
                            buffer[filled : filled + len(data)] = data
                            filled += len(data)
                            if filled == _BLOCK:
                                digest.update(buffer)
                                staging.write(buffer)
                                filled = 0
                except StoreRefused:
                    raise
                except ColdError:
                    failures = 0 if staging.size + filled > before else failures + 1
                    if failures == _TRIES:
                        raise
                    self._wait(_PAUSES.pause(max(1, failures)))
                else:
                    if staging.size + filled < found.size:
                        raise _Refused("the object is damaged: it ends too early")
            with buffer[:filled] as rest:
                digest.update(rest)
                staging.write(rest)
        return digest.hexdigest()

    def _described(self, file: ColdFile, said: Said) -> StoredFile:
        """The file as this node's own, with its receipt."""
        receipt = ReceiptClaims(
            iss=self._settings.node_id,
            aud=RECEIPT_AUDIENCE,
            iat=int(datetime.now(UTC).timestamp()),
            jti=file.jti,
            file_id=file.file_id,
            path=file.path,
            size=file.size,
            sha256=file.sha256,
            committed_at=file.committed_at,
            copies=(self._settings.node_id,),
            expires_at=said.expires_at,
            held=said.held,
        )
        hold = said.hold
        if said.held and hold is None:
            hold = awaiting_scan(self._settings, file.namespace, datetime.now(UTC))
        return StoredFile(
            held=said.held,
            hold=hold,
            expires_at=said.expires_at,
            node_id=self._settings.node_id,
            url=Rosters(self._settings).lasting_url(file.file_id, file.name),
            direct_url=paths.direct_url(self._settings.public_base_url, file.path),
            receipt=mint_receipt(self._key, receipt),
            **file.model_dump(exclude={"jti", "request_id", "said"}),
        )

    def _note(self, file: ColdFile, key: str) -> None:
        self._queue.stored(file.file_id, self._cold.address(key), int(time.time()))


def _id_of(found: Found) -> str | None:
    try:
        return ColdFile.from_metadata(found.metadata).file_id
    except NotOurs:
        return None
