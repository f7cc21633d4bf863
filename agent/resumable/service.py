"""Resumable uploads: begun with one request, carried on with any number, finished with the last.

An offset is told only when the bytes before it are on disk and the index says so. Whatever ends a
request (a cut connection, a restart, a crash) the upload goes on from there; only content that can
never become the file (wrong digest, wrong type) ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.dialects.checksum import Comparison
from agent.dialects.patience import patience_of
from agent.dialects.request import ResumableRequest
from agent.host.sha256 import Sha256
from agent.incoming.body import BodyCut, OpenBody
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.resumable.appending import (
    check_completeness,
    check_ended_right,
    check_media_type,
    check_offset,
    check_room,
    is_complete,
    overruns,
    told_length,
    with_digest,
)
from agent.resumable.beginning import Beginning
from agent.resumable.checkpoint import Checkpoint, skip_repeated
from agent.resumable.concatenation import Concatenation
from agent.resumable.creation import check_length
from agent.resumable.intake import Intake
from agent.resumable.locks import UploadLocks
from agent.storage.sniffing import HEAD_SIZE, ContentRefused
from agent.storage.sniffing import check as check_content
from agent.storage.staging import StagingFile
from agent.telemetry import clock
from agent.telemetry.metrics import UploadTimer
from agent.telemetry.progress import Transfer
from agent.uploads.admission import Demand, Reservation
from agent.uploads.failures import failures_as_problems
from agent.uploads.pipeline import BodyTooLarge, read_through, receive
from agent.uploads.policy import UploadPolicy, token_used
from agent.uploads.shares import Sender
from portside.wire.files import StoredFile


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an upload is after a request, and the file if that was its end."""

    upload: Upload
    stored: StoredFile | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class Sending:
    """The request that brings bytes: how to open its body, and how a newer one cuts it short."""

    asked: ResumableRequest
    open_body: OpenBody
    interrupt: Callable[[], None]
    timer: UploadTimer


class ResumableUploads:
    """The uploads under way on one node. Thread-safe."""

    def __init__(self, policy: UploadPolicy, intake: Intake) -> None:
        self._policy = policy
        self._settings = intake.settings
        self._uploads = intake.uploads
        self._admission = intake.admission
        self._health = intake.health
        self._staged = intake.staged
        self._finisher = intake.finisher
        self._progress = intake.progress
        self._beginning = Beginning(policy, intake)
        self._joiner = Concatenation(policy, intake)
        self._writers = UploadLocks(
            intake.admission.spare, intake.admission.is_elsewhere, intake.admission.take_over
        )

    def check(self, asked: ResumableRequest) -> None:
        """Whether a request would be let in, before its body. Raises ProblemError if not."""
        if asked.method == "POST":
            self._beginning.check(asked)
        elif asked.method == "PATCH":
            upload = self._authorised(asked)
            check_media_type(asked)
            check_completeness(asked)
            self._policy.check_health()
            if upload.state == "OPEN" and not self._writers.is_held(upload.upload_id):
                check_offset(upload, asked)
                if overruns(upload, asked):
                    with self._writers.alone(upload.upload_id, _soon_over):
                        raise self._overrun(self._current(upload.upload_id))
                check_room(upload, asked)
                told = told_length(upload, asked, upload.offset)
                end = upload.offset + (asked.body_length or 0)
                self._staged.check_quota(upload, end if told is None else told)
                with patience_of(asked.dialect, "PATCH"):
                    self._admission.check(_demand(upload, asked))

    def create(self, sending: Sending) -> Reached:
        """Begin an upload, or find the one this token has begun; take in what came with it."""
        return self._acknowledged(self._create(sending))

    def _create(self, sending: Sending) -> Reached:
        asked = sending.asked
        creation, use = self._beginning.asked_for(asked)
        if asked.dialect == "tus" and asked.body_length != 0:
            check_media_type(asked)
        if creation.kind == "final":
            final, stored = self._joiner.join(creation, use, asked, sending.timer)
            return Reached(self._current(final), stored, created=True)
        upload, created = self._beginning.begin(creation, use)
        if asked.body_length == 0 and not asked.complete and upload.length != 0:
            Comparison(asked.checksums).check()
            return Reached(upload, self._stored(upload), created)
        return replace(self._extend(upload.upload_id, sending, repeated=True), created=created)

    def append(self, sending: Sending) -> Reached:
        """Take in the next bytes of an upload. Raises ProblemError."""
        upload = self._authorised(sending.asked)
        check_media_type(sending.asked)
        check_completeness(sending.asked)
        return self._acknowledged(self._extend(upload.upload_id, sending, repeated=False))

    def reached(self, asked: ResumableRequest) -> Reached:
        """How far an upload is on disk; a request that still writes to it is ended first."""
        upload = self._authorised(asked)
        with self._writers.alone(upload.upload_id, _soon_over):
            upload = self._current(upload.upload_id)
        # "Complete" is told as the file is: a client that hears it asks no more.
        return self._acknowledged(Reached(upload, self._stored(upload)))

    def _acknowledged(self, reached: Reached) -> Reached:
        """What was reached, told once its token's `ack` allows it. Raises ProblemError."""
        if reached.stored is None:
            return reached
        claims = reached.upload.details.claims
        return replace(reached, stored=self._policy.acknowledgement.wait(claims, reached.stored))

    def terminate(self, asked: ResumableRequest) -> None:
        """Give an upload up; its space is free again.

        The draft's DELETE of an upload that is complete ends the upload, and leaves the file. tus's
        would be for the file, which only files' own tokens may delete: a ProblemError.
        """
        upload = self._authorised(asked)
        with self._writers.alone(upload.upload_id, _soon_over):
            upload = self._current(upload.upload_id)
            if upload.state != "COMPLETE":
                self._staged.give_up(upload)
            elif asked.dialect == "tus":
                raise ProblemError(
                    "upload-complete", "the file is stored: delete it as a file, not as an upload"
                )
            else:
                self._uploads.close(upload.upload_id)

    def _extend(self, upload_id: str, sending: Sending, repeated: bool) -> Reached:
        """Take in bytes; `repeated`: from the file's beginning, however much of it is there."""
        asked = sending.asked
        with self._writers.alone(upload_id, sending.interrupt):
            upload = self._current(upload_id)
            if upload.state == "COMPLETE":
                return self._repeated(upload, sending)
            self._policy.check_health()
            if not repeated:
                # First: a length that is counted from a wrong offset is wrong as well.
                check_offset(upload, asked)
                if overruns(upload, asked):
                    raise self._overrun(upload)
                check_room(upload, asked)
            upload = self._with_length(with_digest(upload, asked), asked, repeated)
            limit = upload.details.claims.size_limit if upload.length is None else upload.length
            with (
                patience_of(asked.dialect, asked.method),
                failures_as_problems(self._health, limit),
                self._staged.sending(upload),
                self._admission.admit(_demand(upload, asked)) as reservation,
                self._progress.under_way(upload.jti),
                self._staged.open(upload) as staging,
            ):
                progress = Checkpoint(
                    upload, self._uploads, lambda: self._staged.hash_behind(upload)
                )
                try:
                    self._receive(upload, staging, sending, reservation, progress, limit, repeated)
                except BodyCut:
                    if not asked.checksums:
                        staging.settle()
                        progress.record(staging)
                    raise
                except ContentRefused:
                    self._staged.give_up(upload)
                    raise
                except BodyTooLarge:
                    if asked.dialect == "ietf" and upload.length is not None:
                        raise self._overrun(upload) from None
                    raise
                if is_complete(upload, staging, asked):
                    # It may have been revoked while the bytes came.
                    self._policy.revocations.refuse(upload.jti)
                    stored = self._finisher.finish(
                        upload, staging, progress.hexdigest(), sending.timer
                    )
                    return Reached(self._current(upload_id), stored)
                staging.settle()
                progress.record(staging)
                check_ended_right(upload, staging, asked)
        return Reached(self._current(upload_id))

    def _receive(
        self,
        upload: Upload,
        staging: StagingFile,
        sending: Sending,
        reservation: Reservation,
        progress: Checkpoint,
        limit: int,
        repeated: bool,
    ) -> None:
        asked, timer = sending.asked, sending.timer
        comparison = Comparison(asked.checksums)
        if not asked.checksums:
            staging.on_durable = progress.durable
        body = reservation.open_body(sending.open_body)
        if repeated:
            ring_buffer = self._settings.sizing.ring_buffer
            body = skip_repeated(body, upload, ring_buffer, comparison.update)
        body = self._staged.within_quota(upload, body)
        consumers = [progress.update, *([comparison.update] if asked.checksums else [])]
        before = staging.size
        owner, name = upload.details.claims.sub, upload.details.name or ""
        transfer = Transfer(upload.upload_id, name, owner, upload.length, before)
        try:
            with self._progress.follow(transfer) as moved, timer.phase("receive"):
                receive(
                    body,
                    staging,
                    self._settings.sizing,
                    limit - upload.offset,
                    consumers,
                    lambda head: _check_head(upload, head),
                    timer.last_byte,
                    moved,
                )
        finally:
            timer.received(staging.size - before)
        comparison.check()
        self._check_begun_content(upload, staging, asked)

    def _check_begun_content(
        self, upload: Upload, staging: StagingFile, asked: ResumableRequest
    ) -> None:
        """Look at a file's beginning once enough of it is there, if it came in small pieces."""
        if upload.start or upload.offset >= HEAD_SIZE or upload.details.name is None:
            return
        if staging.size >= HEAD_SIZE or is_complete(upload, staging, asked):
            with staging.path.open("rb") as file:
                check_content(upload.details.name, file.read(min(staging.size, HEAD_SIZE)))

    def _authorised(self, asked: ResumableRequest) -> Upload:
        """The upload that a request is about, if its token is that upload's."""
        claims = self._policy.claims(asked.authorization, resuming=True)
        upload = self._uploads.find(asked.upload_id) if asked.upload_id else None
        if upload is None or upload.jti != claims.jti:
            raise ProblemError("upload-unknown", "this token has no such upload on this node")
        return self._unless_over(upload)

    def _current(self, upload_id: str) -> Upload:
        upload = self._uploads.find(upload_id)
        if upload is None:
            raise ProblemError("upload-unknown", "the upload is gone")
        return self._unless_over(upload)

    def _unless_over(self, upload: Upload) -> Upload:
        if upload.is_over:
            if upload.state == "OPEN":
                clock.must_be_believed(self._settings)
            raise ProblemError("upload-expired", "this upload has ended: begin a new one")
        return upload

    def _stored(self, upload: Upload) -> StoredFile | None:
        if upload.state != "COMPLETE":
            return None
        return self._policy.index.find(upload.details.claims.file_id)

    def _repeated(self, upload: Upload, sending: Sending) -> Reached:
        """Bytes for an upload that is complete: the same once more, or none."""
        asked, stored = sending.asked, self._stored(upload)
        if asked.method == "POST":
            if stored is not None and asked.body_length == stored.size:
                self._compare(upload, stored, sending)
            return Reached(upload, stored)
        if asked.dialect == "ietf":
            # Who sends the last bytes again has not heard the answer: 409 sends it to ask.
            check_offset(upload, asked)
        if (
            asked.offset == upload.offset
            and upload.kind != "final"
            and self._is_empty(upload, sending)
        ):
            return Reached(upload, stored)
        if asked.dialect == "ietf" and upload.kind != "final":
            raise ProblemError(
                "size-mismatch", f"the upload is complete with its {upload.offset} bytes"
            )
        raise ProblemError("upload-complete", "the upload is complete: it takes no more bytes")

    def _compare(self, upload: Upload, stored: StoredFile, sending: Sending) -> None:
        """Raise ProblemError unless the whole file that comes again is the one that is stored."""
        digest = Sha256()
        with (
            patience_of(sending.asked.dialect, "POST"),
            failures_as_problems(self._health, stored.size),
            self._admission.admit(_demand(upload, sending.asked)) as reservation,
        ):
            body = reservation.open_body(sending.open_body)
            read_through(body, self._settings.sizing, stored.size, (digest.update,))
        if digest.hexdigest() != stored.sha256:
            raise token_used(stored)

    def _is_empty(self, upload: Upload, sending: Sending) -> bool:
        """Whether a request brings no bytes; a chunked one has to be read for that."""
        if sending.asked.body_length is not None:
            return sending.asked.body_length == 0
        with (
            patience_of(sending.asked.dialect, sending.asked.method),
            failures_as_problems(self._health, upload.offset),
            self._admission.admit(_demand(upload, sending.asked)) as reservation,
        ):
            return reservation.open_body(sending.open_body).fill(memoryview(bytearray(1))) == 0

    def _with_length(self, upload: Upload, asked: ResumableRequest, repeated: bool) -> Upload:
        """Learn the length of an upload that began without one."""
        told = told_length(upload, asked, 0 if repeated else upload.offset)
        if told is None:
            return upload
        claims = upload.details.claims
        check_length(claims, upload.kind, told, self._policy.limit(claims))
        return self._staged.length_told(upload, told)

    def _overrun(self, upload: Upload) -> ProblemError:
        """The problem of more bytes than were announced; it ends the upload.

        IETF draft, section 4.4.2: what its client takes it for is another file.
        """
        self._staged.give_up(upload)
        return ProblemError(
            "size-mismatch",
            f"more bytes were sent than the {upload.length} that were announced: the upload has "
            "ended, begin a new one",
        )


def _demand(upload: Upload, asked: ResumableRequest) -> Demand:
    sender = Sender(upload.jti, upload.details.claims.sub, asked.address)
    return Demand(upload.upload_id, None, 0, sender=sender, resumable=True)


def _check_head(upload: Upload, head: bytes) -> None:
    """Refuse content at its first bytes, if these are enough to tell."""
    if upload.start or upload.offset or upload.details.name is None:
        return
    if len(head) == HEAD_SIZE or len(head) == upload.length:
        check_content(upload.details.name, head)


def _soon_over() -> None:
    """For requests that end by themselves in a moment."""
