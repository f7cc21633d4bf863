"""Where uploads under way lie on disk: their staging files, their space, their parts.

An upload has a file of its own, or a region of one that it shares with the other parts of its file.
Its space is promised by its row, and taken as its bytes come.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Set
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial

import structlog

from agent.host import filesystem
from agent.incoming.body import Body
from agent.index.uploads import Upload, UploadIndex
from agent.problems import ProblemError
from agent.resumable.creation import Creation
from agent.resumable.parts import Assemblies
from agent.settings import Settings
from agent.storage.reserve import Reserve
from agent.storage.staging import DiskFailed, Region, RegionTaken, StagingFile
from agent.uploads.admission import Admission
from agent.uploads.policy import too_large
from agent.uploads.quotas import Grown, claim_of, grown_to

_log = structlog.get_logger()


class StagedUploads:
    """The staging files of resumable uploads on one node."""

    def __init__(self, settings: Settings, uploads: UploadIndex, admission: Admission) -> None:
        self._settings = settings
        self._uploads = uploads
        self._admission = admission
        # Two buffers read ahead of the digest: together the spare one that a form would take.
        self.assemblies = Assemblies(settings.staging, settings.sizing.ring_buffer // 2)
        self._first_bytes = threading.Lock()
        self._sending: dict[str, set[str]] = {}
        for upload in uploads.open_uploads():
            self._look_after_a_start(upload)

    def begin(self, creation: Creation) -> Upload:
        """A new upload, its space promised. Raises ProblemError, DiskFull, DiskFailed."""
        parts = self.parts(creation.claims.jti)
        key, claim = f"begin {creation.claims.jti}", creation.claim(parts)
        with self._admission.promising(key, creation.space, claim) as granted:
            return self._begin(creation, parts, granted)

    def _begin(self, creation: Creation, parts: list[Upload], granted: int) -> Upload:
        if parts:
            upload = self._begin_beside(creation, parts)
        else:
            with StagingFile.create(
                self._settings.staging,
                creation.claims.file_id,
                self._settings.sizing,
                filesystem.of(self._settings.root),
            ) as staging:
                upload = creation.upload(staging.path.name, 0, granted)
                # Before the row: an upload that was told of must find its file after a power cut.
                self._sync_name(staging)
                self._uploads.add(upload)
                staging.keep()
        _log.info("upload begun", upload_id=upload.upload_id, kind=upload.kind, size=upload.length)
        return upload

    def _begin_beside(self, creation: Creation, parts: list[Upload]) -> Upload:
        """Another part of a file, behind those that were created before it."""
        start = max(part.start + (part.length or 0) for part in parts)
        end = start + (creation.length or 0)
        # A part without a byte may be one whose client never heard of it: it made another then.
        # Those that have one are held to the limit here, the others by their first byte.
        size = _begun(parts) + (creation.length or 0)
        if size > creation.limit or end > 2 * creation.limit:
            raise too_large(max(size, end - creation.limit), creation.limit)
        # All parts together are promised what the file may have.
        spare = max(0, creation.limit - sum(part.promised for part in parts))
        upload = creation.upload(parts[0].staging, start, spare)
        with self.open(upload):
            self._uploads.add(upload)
        self.assemblies.progressed(parts)
        return upload

    def open(self, upload: Upload) -> StagingFile:
        """The upload's staging file, to go on where it is on disk. Raises ProblemError as well."""
        path = self._settings.staging / upload.staging
        position = upload.start + upload.offset
        try:
            staging = StagingFile.reopen(
                path,
                self._settings.sizing,
                _region(upload),
                position,
                filesystem.of(self._settings.root),
            )
            taken = max(upload.offset, self._admission.taken(upload.upload_id))
            most = self._most(upload)
            staging.take_in_steps(
                partial(self._growing, upload), upload.start + most, upload.start + taken
            )
            return staging
        except RegionTaken:
            raise _locked() from None
        except FileNotFoundError:
            # The intent to commit is on disk before its file has another name.
            if self._uploads.is_being_stored(upload):
                raise _locked() from None
            self._end(upload)
            raise ProblemError("upload-expired", "its bytes are gone: begin anew") from None

    @contextmanager
    def _growing(self, upload: Upload, size: int) -> Iterator[None]:
        taken = max(upload.offset, self._admission.taken(upload.upload_id))
        with self._admission.growing(upload.upload_id, size):
            yield
            self._admission.has_taken(upload.upload_id, taken + size)

    def _most(self, upload: Upload) -> int:
        return upload.details.claims.size_limit if upload.length is None else upload.length

    @contextmanager
    def sending(self, upload: Upload) -> Iterator[None]:
        """The bytes of an upload come in this context.

        Parts that were created side by side may be more than their token allows: those that get
        bytes may not. Raises ProblemError for the one that would be too much.
        """
        if upload.kind != "part":
            yield
            return
        with self._first_bytes:
            others = [each for each in self.parts(upload.jti) if each.upload_id != upload.upload_id]
            sending = self._sending.setdefault(upload.jti, set())
            limit = min(upload.details.claims.size_limit, self._settings.max_size)
            size = _begun(others, sending) + (upload.length or 0)
            if size > limit:
                raise too_large(size, limit)
            sending.add(upload.upload_id)
        try:
            yield
        finally:
            with self._first_bytes:
                sending.discard(upload.upload_id)
                if not sending:
                    self._sending.pop(upload.jti, None)

    def give_up(self, upload: Upload) -> None:
        """End an upload and give its space back; of a part beside others that of its place."""
        with ExitStack() as stack:
            place: StagingFile | None = None
            if upload.kind == "part":
                # Held from before the row ends: another part may begin in its place then.
                with suppress(ProblemError, DiskFailed):
                    place = stack.enter_context(self.open(upload))
            self._end(upload)
            if not self._uploads.needs(upload.staging):
                (self._settings.staging / upload.staging).unlink(missing_ok=True)
                self.assemblies.forget(upload.staging)
            elif place is not None:
                place.give_back(_region(upload))
        _log.info("upload given up", upload_id=upload.upload_id, bytes=upload.offset)

    def _end(self, upload: Upload) -> None:
        """On a full disk too: it is how room is given back."""
        Reserve(self._settings).spend(lambda: self._uploads.end(upload.upload_id))

    def hash_behind(self, upload: Upload) -> None:
        """More of an upload is on disk: if it is a part, the file's beginning may have grown."""
        if upload.kind == "part":
            self.assemblies.progressed(self.parts(upload.jti))

    def length_told(self, upload: Upload, length: int) -> Upload:
        """The length of an upload that began without one. Raises ProblemError without room."""
        taken = max(upload.offset, self._admission.taken(upload.upload_id))
        more = length - max(upload.promised, taken)
        claim = claim_of(upload.details.claims, length, length)
        if length <= _let_in(upload):
            # Whatever its owner has by now.
            claim = replace(claim, quota=None)
        with self._admission.promising(f"length of {upload.upload_id}", max(0, more), claim):
            return self._uploads.set_length(upload, length)

    def within_quota(self, upload: Upload, body: Body) -> Body:
        """An upload's next bytes, held to what its owner may have where nobody knows how many come.

        Of one without a quota the index counts the bytes that there are.
        """
        if upload.length is not None or upload.details.claims.quota is None:
            return body
        return Grown(body, upload.offset, _let_in(upload), partial(self._reach, upload))

    def check_quota(self, upload: Upload, end: int) -> None:
        """Raise ProblemError when an upload's owner may not have a file of `end` bytes."""
        if upload.length is None and end > _let_in(upload):
            self._admission.check_quota(claim_of(upload.details.claims, end, end))

    def _reach(self, upload: Upload, size: int) -> int:
        """An upload has come to `size` bytes: a step more is promised to it, as far as it may go.

        Returns up to where that is. Raises ProblemError.
        """
        claims = upload.details.claims
        current = self._uploads.find(upload.upload_id) or upload
        there = max(current.promised, self._admission.taken(upload.upload_id))
        claim = grown_to(claim_of(claims, None, claims.size_limit), size)
        more = max(0, min(claim.most, self._most(upload)) - there)
        with self._admission.promising(f"growth of {upload.upload_id}", more, claim) as granted:
            self._uploads.promise(upload, granted)
        return granted

    def parts(self, jti: str) -> list[Upload]:
        """The parts that a token began, by their place."""
        return [each for each in self._uploads.of_token(jti) if each.kind == "part"]

    def _sync_name(self, staging: StagingFile) -> None:
        try:
            filesystem.of(self._settings.root).sync_directory(staging.path.parent)
        except OSError as error:
            raise DiskFailed(f"syncing the staging folder failed: {error.strerror}") from error

    def _look_after_a_start(self, upload: Upload) -> None:
        if upload.kind == "final":
            # The joining that a crash cut short; the parts are there to be joined again.
            if not self._admission.has_elsewhere(upload.upload_id):
                self._end(upload)
            return
        try:
            with self.open(upload):
                pass
        except ProblemError as problem:
            # Its bytes are gone, or an old process drains after a reload and is at them.
            _log.warning("upload not at hand", upload_id=upload.upload_id, reason=problem.slug)


def _locked() -> ProblemError:
    return ProblemError("upload-locked", "another request is still at this upload: try again")


def _begun(parts: Iterable[Upload], sending: Set[str] = frozenset()) -> int:
    """Bytes of all parts that have one, or are sent one right now."""
    return sum(part.length or 0 for part in parts if part.offset or part.upload_id in sending)


def _let_in(upload: Upload) -> int:
    """Bytes that an upload of unknown length may have, whatever its owner has beside it."""
    return max(upload.promised, upload.offset)


def _region(upload: Upload) -> Region:
    # An upload alone in its file has all of it.
    return Region(upload.start, upload.length or 0) if upload.kind == "part" else Region(0, 2**62)
