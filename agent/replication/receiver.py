"""Copies that other nodes send: taken in by the same write path as uploads, resumed, committed.

A push has a row among the uploads, so that its bytes survive a restart and are swept when nobody
comes back; its offset is told only when it is on disk. The sender names the file with a token of
its own key, and shows an issuer's word that it is to come here (`agent.replication.orders`); what
comes must be exactly that file. Answers to what can go wrong:

- the connection breaks, or this node restarts: the push goes on from the durable offset;
- other bytes than the digest says: 422, and nothing of them is kept;
- the disk is full: 507, before the first byte where it can be; the space is given back;
- the same file is here: 200 and its receipt; damaged here: these bytes take its place;
- deleted here: 410. A tombstone outlives every push, whoever sends it.

A source may end a push of its own that is under way (`forget`), no more: who could delete other
nodes' files with one node's key could delete a cluster's. Copies that are complete are deleted as
every file is: with an access token, or by the control plane's word.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import structlog

from agent.host.sha256 import Sha256
from agent.incoming.body import BodyCut, OpenBody
from agent.index.database import Database
from agent.index.files import FileIndex, name_taken
from agent.index.search import look_up
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.replication.authorization import Sources, check_announced
from agent.replication.orders import CopyOrders, Terms, check_beginning
from agent.replication.request import ReplicateRequest
from agent.resumable.checkpoint import Checkpoint
from agent.resumable.creation import creation_of_copy
from agent.resumable.intake import Intake
from agent.resumable.locks import UploadLocks
from agent.storage.holds import is_scanners
from agent.storage.sniffing import ContentRefused
from agent.storage.staging import StagingFile
from agent.telemetry.metrics import UploadTimer
from agent.telemetry.progress import Transfer
from agent.uploads.admission import Demand
from agent.uploads.failures import failures_as_problems
from agent.uploads.pipeline import BodyTooLarge, read_through, receive
from portside.cluster.lifetimes import has_ended
from portside.wire.claims import ReplicateClaims
from portside.wire.files import StoredFile
from portside.wire.status import INODES_PER_FILE

_log = structlog.get_logger()

KEPT = 86400
"""Seconds for which the bytes of a push that was cut are kept for it to go on."""

MOST_LENT = 2
"""Held files that are sent at a time: each takes a thread for as long as its receiver reads, and
uploads need those. Damaged copies are few."""


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a push is: its durable offset, and the file once that is complete."""

    offset: int
    stored: StoredFile | None = None
    outcome: Literal["stored", "known", "partial"] = "partial"


@dataclass(frozen=True, slots=True)
class Sending:
    """The request that brings bytes: how to open its body, and how a newer one cuts it short."""

    asked: ReplicateRequest
    open_body: OpenBody
    interrupt: Callable[[], None]
    timer: UploadTimer


class LentFile(io.FileIO):
    """A file that is being sent; whoever closes it makes room for the next one."""

    def __init__(self, descriptor: int, room: threading.BoundedSemaphore) -> None:
        super().__init__(descriptor)
        self._room: threading.BoundedSemaphore | None = room

    def close(self) -> None:
        """Also when nothing of it was sent. Again it changes nothing."""
        super().close()
        room, self._room = self._room, None
        if room is not None:
            room.release()


@dataclass(frozen=True, slots=True)
class Content:
    """A file for another node. A held one is open: nginx, which sends the others, can't read it."""

    stored: StoredFile
    file: LentFile | None


class ReplicaReceiver:
    """The pushes that come to one node. Thread-safe."""

    def __init__(
        self, sources: Sources, orders: CopyOrders, database: Database, intake: Intake
    ) -> None:
        self._sources = sources
        self._orders = orders
        self._database = database
        self._index = FileIndex(database)
        self._settings = intake.settings
        self._uploads = intake.uploads
        self._staged = intake.staged
        self._finisher = intake.finisher
        self._admission = intake.admission
        self._health = intake.health
        self._progress = intake.progress
        self._writers = UploadLocks(
            intake.admission.spare,
            lambda file_id: self._admission.is_elsewhere(_key(file_id)),
            lambda file_id: self._admission.take_over(_key(file_id)),
        )
        self._lent = threading.BoundedSemaphore(MOST_LENT)

    def check(self, asked: ReplicateRequest) -> None:
        """Whether a push would be let in, before its body. Raises ProblemError if not."""
        if asked.method != "PUT":
            return
        with _refusals_told(asked) as named:
            self._check(asked, named)

    def _check(self, asked: ReplicateRequest, named: dict[str, object]) -> None:
        claims = self._sources.claims(asked)
        named |= _named(claims)
        check_announced(claims, asked)
        if self._known(claims) is not None:
            return
        self._terms(claims, asked)
        self._check_health()
        if self._writers.is_held(claims.file_id):
            return
        upload = self._begun(claims)
        if asked.range is not None:
            self._check_offset(0 if upload is None else upload.offset, asked)
        space, inodes = (claims.size, INODES_PER_FILE) if upload is None else (0, 0)
        demand = Demand(_key(claims.file_id), None, space, kind="copy", inodes=inodes)
        self._admission.check(demand)

    def reached(self, asked: ReplicateRequest) -> Reached:
        """How far a push is on disk; a request that still brings bytes of it is ended first."""
        claims = self._sources.claims(asked)
        with self._writers.alone(claims.file_id, _soon_over):
            stored = self._known(claims)
            if stored is not None:
                return Reached(stored.size, stored, "known")
            upload = self._begun(claims)
            return Reached(0 if upload is None else upload.offset)

    def content(self, asked: ReplicateRequest) -> Content:
        """The file whose good bytes another node asks for: it names that very file, or gets none.

        Raises ProblemError.
        """
        claims = self._sources.claims(asked)
        stored = self._known(claims)
        if stored is None:
            raise ProblemError("not-found", "this node has no good copy of this file")
        return Content(stored, self._lend(stored) if stored.held else None)

    def _lend(self, stored: StoredFile) -> LentFile:
        """A held file's bytes, from the agent itself. Raises ProblemError."""
        if not self._lent.acquire(blocking=False):
            raise ProblemError("no-slot", "held files are being fetched already: ask again")
        try:
            path = self._settings.uploads / stored.path
            return LentFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), self._lent)
        except OSError as error:
            self._lent.release()
            raise ProblemError("not-found", f"its data can't be read: {error.strerror}") from None

    def receive(self, sending: Sending) -> Reached:
        """Take in a push's bytes; with the last of them the copy is committed."""
        with _refusals_told(sending.asked) as named:
            reached = self._receive(sending, named)
            _log.info("push received", outcome=reached.outcome, **named)
            return reached

    def _receive(self, sending: Sending, named: dict[str, object]) -> Reached:
        asked = sending.asked
        claims = self._sources.claims(asked)
        named |= _named(claims)
        check_announced(claims, asked)
        with self._writers.alone(claims.file_id, sending.interrupt):
            stored = self._known(claims)
            if stored is not None:
                self._compare(stored, sending)
                return Reached(stored.size, stored, "known")
            terms = self._terms(claims, asked)
            self._check_health()
            with failures_as_problems(self._health, claims.size):
                return self._extend(self._upload(claims, asked, terms), claims, sending)

    def forget(self, asked: ReplicateRequest) -> None:
        """Give up a push that is under way; a copy that is complete stays."""
        claims = self._sources.claims(asked)
        with self._writers.alone(claims.file_id, _soon_over):
            upload = self._begun(claims)
            if upload is not None:
                with failures_as_problems(self._health, claims.size):
                    self._staged.give_up(upload)

    def _known(self, claims: ReplicateClaims) -> StoredFile | None:
        """The file if it is here as it is to be, None where it may come. Raises ProblemError."""
        known = look_up(self._database, claims.file_id)
        if known is None:
            if self._index.is_pending(claims.file_id):
                raise ProblemError("upload-locked", "the copy is being committed: ask again")
            if self._index.path_taken(claims.path):
                raise name_taken(claims.path)
            return None
        stored = known.stored
        if known.state in ("DELETING", "DELETED"):
            raise ProblemError("file-deleted", "this file was deleted on this node")
        if known.state == "ENDED":
            raise ProblemError("file-expired", "this file has come to its end on this node")
        if (stored.path, stored.size, stored.sha256) != (claims.path, claims.size, claims.sha256):
            raise ProblemError(
                "file-differs", "this node has another content or path under the file's id"
            )
        if known.state == "COMMITTED":
            return stored
        # In quarantine: this push is what it waits for, unless its name was given again.
        if self._index.path_taken(claims.path):
            raise name_taken(claims.path)
        return None

    def _terms(self, claims: ReplicateClaims, asked: ReplicateRequest) -> Terms:
        """On which terms the copy is to be kept. Raises ProblemError for a new file that no issuer
        wants here, or whose time is over.

        One in quarantine is none: the very bytes that it lost may come back from anyone, and what
        is known of it stays.
        """
        known = look_up(self._database, claims.file_id)
        if known is not None:
            stored = known.stored
            return Terms(stored.held, stored.expires_at, scan=is_scanners(stored))
        terms = self._orders.check(claims, asked)
        if has_ended(terms.expires_at, time.time()):
            raise ProblemError("file-expired", "this file has come to its end")
        return terms

    def _check_health(self) -> None:
        reasons = self._health.reasons()
        if reasons:
            raise ProblemError("read-only", "this node takes no copies: " + "; ".join(reasons))

    def _begun(self, claims: ReplicateClaims) -> Upload | None:
        """The push of this file that may go on, from whichever node."""
        for upload in self._uploads.of_token(claims.jti):
            # Past its deadline too: as long as its bytes are there it may go on.
            if upload.details.dialect == "replicate" and upload.state == "OPEN":
                return upload
        return None

    def _upload(self, claims: ReplicateClaims, asked: ReplicateRequest, terms: Terms) -> Upload:
        """The push to go on with; a file that is sent from its beginning begins anew."""
        upload = self._begun(claims)
        if upload is not None and asked.range is None and upload.offset:
            self._staged.give_up(upload)
            upload = None
        if upload is None:
            self._check_offset(0, asked)
            self._admission.check_space(claims.size, INODES_PER_FILE)
            self._uploads.forget_ended(claims.jti)
            creation = creation_of_copy(
                *(claims, KEPT, asked.proof),
                held=terms.held,
                scan=terms.scan,
                expires_at=terms.expires_at,
            )
            upload = self._staged.begin(creation)
        self._check_offset(upload.offset, asked)
        return upload

    def _check_offset(self, offset: int, asked: ReplicateRequest) -> None:
        """Raise ProblemError unless the bytes that come begin where those on disk end."""
        if asked.range is None:
            start = 0
        elif asked.range.start is None:
            start = asked.range.size
        else:
            start = asked.range.start
        if start != offset:
            raise ProblemError(
                "offset-mismatch",
                f"the push is at {offset}, not at {start}: go on from there",
                headers={"Upload-Offset": str(offset)},
                members={"expected-offset": offset, "provided-offset": start},
            )

    def _extend(self, upload: Upload, claims: ReplicateClaims, sending: Sending) -> Reached:
        demand = Demand(_key(claims.file_id), claims.path, 0, kind="copy", resumable=True)
        with (
            self._admission.admit(demand) as reservation,
            self._staged.open(upload) as staging,
        ):
            progress = Checkpoint(upload, self._uploads, _nobody_waits)
            staging.on_durable = progress.durable
            before = staging.size
            try:
                transfer = Transfer(
                    upload.upload_id, claims.path.name, claims.owner, claims.size, before
                )
                with self._progress.follow(transfer) as moved, sending.timer.phase("receive"):
                    receive(
                        reservation.open_body(sending.open_body),
                        staging,
                        self._settings.sizing,
                        claims.size - upload.offset,
                        (progress.update,),
                        at_end=sending.timer.last_byte,
                        moved=moved,
                    )
            except BodyCut:
                staging.settle()
                progress.record(staging)
                raise
            finally:
                sending.timer.received(staging.size - before)
            if staging.size < claims.size:
                staging.settle()
                progress.record(staging)
                return Reached(staging.size)
            self._check_content(upload, claims, staging)
            sha256 = progress.hexdigest()
            if sha256 == claims.sha256 and look_up(self._database, claims.file_id) is not None:
                stored = self._finisher.repair(self._database, upload, staging, sending.timer)
            else:
                stored = self._finisher.finish(upload, staging, sha256, sending.timer)
        return Reached(stored.size, stored, "stored")

    def _check_content(self, upload: Upload, claims: ReplicateClaims, staging: StagingFile) -> None:
        """Raises ContentRefused, with nothing of the push kept."""
        if look_up(self._database, claims.file_id) is not None:
            return
        try:
            check_beginning(claims, staging)
        except ContentRefused:
            self._staged.give_up(upload)
            raise

    def _compare(self, stored: StoredFile, sending: Sending) -> None:
        """A whole file that comes again must be the one that is here. Nothing is written.

        A part of one is read past: an answer under a body that is on its way could be lost.
        """
        asked = sending.asked
        digest = Sha256()
        with (
            failures_as_problems(self._health, stored.size),
            self._admission.admit(
                Demand(_key(stored.file_id), None, 0, kind="copy")
            ) as reservation,
        ):
            try:
                sizing = self._settings.sizing
                body = reservation.open_body(sending.open_body)
                read_through(body, sizing, stored.size, (digest.update,))
            except BodyTooLarge:
                raise _differs() from None
        if asked.length == stored.size and digest.hexdigest() != stored.sha256:
            raise _differs()


def _key(file_id: str) -> str:
    """What the ledger knows a push by."""
    return f"copy {file_id}"


def _differs() -> ProblemError:
    return ProblemError("file-differs", "the bytes are not those of the file that is here")


@contextmanager
def _refusals_told(asked: ReplicateRequest) -> Iterator[dict[str, object]]:
    """A line in the log about a push that is refused: what is yielded says who sent what.

    Before its token is read that is only where from.
    """
    named: dict[str, object] = {"path": asked.path, "address": asked.address}
    try:
        yield named
    except ProblemError as problem:
        _log.warning("push refused", outcome=problem.slug, detail=problem.detail, **named)
        raise


def _named(claims: ReplicateClaims) -> dict[str, object]:
    return {
        "file_id": claims.file_id,
        "path": str(claims.path),
        "size": claims.size,
        "source": claims.iss,
    }


def _soon_over() -> None:
    """For requests that end by themselves in a moment."""


def _nobody_waits() -> None:
    """Nothing is hashed behind a push: it has no parts."""
