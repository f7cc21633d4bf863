"""The end of an upload: from a durable staging file to a visible, acknowledged one.

The order is the promise. Intent row, attributes, then the data by a rename that replaces nothing:
data that is visible has its attributes, and a cut at any point is finished or undone at the next
start. Every directory touched is synced before the answer: ext4 may otherwise bring back the old
name after a power cut.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import structlog

from agent.cluster.rendezvous import targets
from agent.cluster.roster import Rosters
from agent.host import filesystem
from agent.host.directories import make_directories
from agent.host.filesystem import Filesystem
from agent.index.database import Database
from agent.index.files import Delivery, FileIndex, Intent, microseconds, name_taken, stored_of
from agent.index.uploads import Copied
from agent.outbox import cold_orders
from agent.outbox.events import COPIED, RECEIPT, SCAN, UPLOADED, deliveries_for
from agent.settings import Settings
from agent.storage.attributes import Attributes, as_told_last
from agent.storage.holds import awaiting_scan, awaits_scan
from agent.storage.permissions import ATTRIBUTES_MODE, folder_mode, set_data_mode
from agent.storage.quarantine import Kept, move, put_back, replace_bytes
from agent.storage.reserve import Reserve, says_full
from agent.storage.sniffing import media_type
from agent.storage.staging import (
    ATTRIBUTES_SUFFIX,
    SUFFIX,
    DiskFailed,
    DiskFull,
    StagingFile,
    translated,
)
from portside import durable_file
from portside.cluster.lifetimes import end_of
from portside.names import CANARY, attributes_path, dated_path, named_path
from portside.tokens import RECEIPT_AUDIENCE, SigningKey, mint_receipt
from portside.tracing import current
from portside.wire import paths
from portside.wire.claims import ReceiptClaims, UploadClaims
from portside.wire.files import StoredFile

_log = structlog.get_logger()


class Committer:
    """Carries out commits on one node."""

    def __init__(self, settings: Settings, index: FileIndex, key: SigningKey) -> None:
        self._settings = settings
        self._index = index
        self._key = key
        self._rosters = Rosters(settings)
        self._reserve = Reserve(settings)

    def describe(
        self,
        claims: UploadClaims,
        name: str,
        size: int,
        sha256: str,
        copied: Copied | None = None,
    ) -> StoredFile:
        """What the file will be once it is committed, receipt included. Nothing is written.

        A copy is where its original is and counts from the original's commit.
        """
        now = datetime.now(UTC)
        committed_at = now if copied is None else copied.committed_at
        lifetime = self._settings.lifetimes.of(claims.namespace, claims.expires_in)
        expires_at = end_of(now, lifetime) if copied is None else copied.expires_at
        if copied is not None:
            path = copied.path
        elif claims.layout == "named":
            path = named_path(claims.namespace, name)
        else:
            path = dated_path(claims.namespace, name, claims.sub, claims.file_id, now)
        # A copy is held as its original is: what was released there isn't held here anew.
        held = claims.hold or (copied is None and claims.namespace in self._settings.held)
        # What a token holds, whoever signed it releases.
        by_token = claims.hold and copied is None
        scan = held and not by_token and (copied is None or copied.scan)
        receipt = ReceiptClaims(
            iss=self._settings.node_id,
            aud=RECEIPT_AUDIENCE,
            iat=int(now.timestamp()),
            jti=claims.jti,
            file_id=claims.file_id,
            path=path,
            size=size,
            sha256=sha256,
            committed_at=committed_at,
            copies=(self._settings.node_id,),
            expires_at=expires_at,
            held=held,
        )
        return StoredFile(
            file_id=claims.file_id,
            node_id=self._settings.node_id,
            namespace=claims.namespace,
            owner=claims.sub,
            name=name,
            path=path,
            url=self._rosters.lasting_url(claims.file_id, name),
            direct_url=paths.direct_url(self._settings.public_base_url, path),
            size=size,
            sha256=sha256,
            content_type=claims.content_type or media_type(name),
            committed_at=committed_at,
            receipt=mint_receipt(self._key, receipt),
            app=claims.app,
            expires_at=expires_at,
            held=held,
            hold=awaiting_scan(self._settings, claims.namespace, now) if scan else None,
        )

    def store(
        self,
        claims: UploadClaims,
        name: str,
        staging: StagingFile,
        sha256: str,
        token: str | None,
        copied: Copied | None = None,
    ) -> StoredFile:
        """Make a verified, durable staging file the stored file. Raises as `commit`.

        `token` is what the file came with, and is kept with it. A copy from another node is
        `copied`, and is copied no further.
        """
        stored = self.describe(claims, name, staging.size, sha256, copied)
        replicas: tuple[str, ...] = ()
        if copied is None:
            replicas = targets(claims, self._settings.node_id, self._rosters.current())
        try:
            self.commit(
                Intent(
                    claims.jti,
                    staging.path.name,
                    stored,
                    replicas=replicas,
                    upload_token=token,
                )
            )
        except DiskFailed:
            # The intent is on disk or may be: only the next start can tell, and needs the data.
            staging.keep()
            raise
        staging.keep()
        _log.info(
            "upload committed" if copied is None else "copy committed",
            file_id=stored.file_id,
            path=str(stored.path),
            size=stored.size,
            owner=stored.owner,
        )
        return stored

    def adopt(
        self, claims: UploadClaims, name: str, staged: Path, size: int, sha256: str, order: str
    ) -> StoredFile:
        """Make a file that lies in staging, verified and durable, the stored one: of bytes that no
        request has brought, as `order` allows. Raises as `commit`.

        Whatever an error leaves half done, the next start finishes it or sweeps it.
        """
        stored = self.describe(claims, name, size, sha256)
        replicas = targets(claims, self._settings.node_id, self._rosters.current())
        self.commit(Intent(claims.jti, staged.name, stored, replicas=replicas, upload_token=order))
        _log.info(
            "file adopted",
            file_id=stored.file_id,
            path=str(stored.path),
            size=stored.size,
            owner=stored.owner,
        )
        return stored

    def commit(self, intent: Intent) -> None:
        """Make the intent's durable staging file the stored file. Returns when that is durable.

        Raises ProblemError when the name or token was taken meanwhile, DiskFull, DiskFailed.
        """
        stored = intent.stored
        try:
            self._index.begin(intent)
            try:
                self._place(intent)
            except (FileExistsError, DiskFull):
                # On a full disk too: a row that stayed would keep token and name from being used.
                self._reserve.spend(lambda: self._index.roll_back(stored.file_id))
                raise
            self._record(stored)
        except FileExistsError:
            raise name_taken(stored.path) from None
        except sqlite3.Error as error:
            raise of_index(error, self._settings) from error

    def finish(self, intent: Intent) -> None:
        """Carry out an intent that a crash cut short: its data is still staged, or renamed already.

        What is done because of it belongs to the request's trace all the same. Raises
        FileExistsError when another file has its place, and as `commit`.
        """
        trace = current.kept(intent.trace)
        with nullcontext() if trace is None else current.within(trace):
            self._finish(intent)

    def _finish(self, intent: Intent) -> None:
        if (self._settings.staging / intent.staging).exists():
            self._place(intent)
        else:
            self._filesystem().sync_directory((self._settings.uploads / intent.stored.path).parent)
        self._record(intent.stored)

    def repair(self, database: Database, file_id: str, staging: StagingFile) -> StoredFile:
        """Put a quarantined file back into service with these bytes, verified and durable.

        The file stays as its row has it, which may be told of holds and of another end until the
        last moment. Raises FileExistsError when its name was given again, FileNotFoundError when it
        isn't in quarantine any more, DiskFull, DiskFailed or sqlite3.Error.
        """
        settings = self._settings
        move(settings, database, file_id)
        row = database.row("SELECT jti, stored FROM files WHERE file_id = ?", (file_id,))
        if row is None or not replace_bytes(settings, database, file_id, staging.path):
            raise FileNotFoundError(f"{file_id} is not in quarantine any more")
        staging.keep()
        stored = stored_of(row[1])
        described = as_told_last(Kept.of(settings, file_id).attributes, stored, row[0])
        fresh = signed_again(described.stored(), described.jti, self._key)
        described = described.model_copy(update={"receipt": fresh.receipt})
        deliveries = cold_orders.deliveries_for(settings.cold, stored.namespace)
        return put_back(settings, database, described, [*deliveries, *self._receipts()])

    def _receipts(self) -> list[Delivery]:
        control_url = self._rosters.current().control_url
        return [] if control_url is None else [Delivery(RECEIPT, control_url)]

    def _record(self, stored: StoredFile) -> None:
        """The row COMMITTED, and with it what is to be told and where the file is to be backed up.

        Hooks hear of a file from the node that it was uploaded to, not from each copy's. Of a file
        by which the node is tried out nobody hears.
        """
        if stored.namespace == CANARY:
            self._index.commit(stored.file_id)
            return
        deliveries = cold_orders.deliveries_for(self._settings.cold, stored.namespace)
        is_copy = self._index.is_copy(stored.file_id)
        if awaits_scan(stored):
            deliveries.append(Delivery(SCAN, COPIED if is_copy else UPLOADED))
        if not is_copy:
            deliveries += deliveries_for(self._settings.hooks, stored.namespace)
        self._index.commit(stored.file_id, [*deliveries, *self._receipts()])

    def _place(self, intent: Intent) -> None:
        """Attributes, then data, then both directories on disk. Raises FileExistsError."""
        path = intent.stored.path
        target, staging = self._settings.uploads / path, self._settings.staging / intent.staging
        disk = self._filesystem()
        try:
            mode = folder_mode(self._settings, intent.stored.namespace)
            make_directories(disk, self._settings.uploads, path.parent, mode)
            if _is_one_file(staging, target):
                # Linked and cut short before the unlink, where no rename can do both.
                staging.unlink()
            elif target.exists():
                raise FileExistsError(target)
            else:
                # What nginx tells as Last-Modified is the same on every node. On disk with the
                # rename: filesystems journal both in this order, and the folders' sync below waits
                # for both.
                moment = microseconds(intent.stored.committed_at) * 1000
                os.utime(staging, ns=(moment, moment))
                # Before it has its name: there is no moment at which a held file could be read.
                stored = intent.stored
                set_data_mode(self._settings, stored.namespace, staging, held=stored.held)
                # Attributes without data are what an undone commit may leave: they are replaced.
                attributes = self._settings.uploads / attributes_path(path)
                self._write_attributes(intent).rename(attributes)
                disk.rename_without_replacing(staging, target)
            disk.sync_directory(target.parent)
            disk.sync_directory(self._settings.staging)
        except FileExistsError:
            raise
        except OSError as error:
            raise translated(error, f"placing {path}") from error

    def _filesystem(self) -> Filesystem:
        return filesystem.of(self._settings.root)

    def _write_attributes(self, intent: Intent) -> Path:
        temporary = self._settings.staging / (
            intent.staging.removesuffix(SUFFIX) + ATTRIBUTES_SUFFIX
        )
        content = Attributes.of(intent).model_dump_json().encode() + b"\n"
        durable_file.write(temporary, content, ATTRIBUTES_MODE)
        return temporary


def _is_one_file(source: Path, target: Path) -> bool:
    """Whether two names are of one file."""
    try:
        return source.samefile(target)
    except FileNotFoundError:
        return False


def signed_again(stored: StoredFile, jti: str, key: SigningKey) -> StoredFile:
    """A file with a receipt of now: one from before it was damaged proves nothing any more."""
    receipt = ReceiptClaims(
        iss=stored.node_id,
        aud=RECEIPT_AUDIENCE,
        iat=int(datetime.now(UTC).timestamp()),
        jti=jti,
        file_id=stored.file_id,
        path=stored.path,
        size=stored.size,
        sha256=stored.sha256,
        committed_at=stored.committed_at,
        copies=(stored.node_id,),
        expires_at=stored.expires_at,
        held=stored.held,
    )
    return stored.model_copy(update={"receipt": mint_receipt(key, receipt)})


def of_index(error: sqlite3.Error, settings: Settings) -> DiskFull | DiskFailed:
    """What an error of the index means: it lies on the data disk."""
    if says_full(error, settings.root):
        return DiskFull("the disk is full (writing the index)")
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    passes = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return DiskFailed(f"writing the index failed: {error}", final=not passes)
