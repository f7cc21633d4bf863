"""Where uploads under way lie on disk: their staging files, their space, their parts.

An upload has a file of its own, or a region of one that it shares with the other parts of its file.
Its space is taken at its beginning, so that none fails half-way for a full disk.
"""

from __future__ import annotations

import structlog

from agent.host import filesystem
from agent.index.uploads import Upload, UploadIndex
from agent.problems import ProblemError
from agent.resumable.creation import Creation
from agent.resumable.parts import Assemblies
from agent.settings import Settings
from agent.storage.reserve import Reserve
from agent.storage.staging import DiskFailed, DiskFull, Region, RegionTaken, StagingFile
from agent.uploads.admission import Admission
from agent.uploads.policy import too_large

_log = structlog.get_logger()


class StagedUploads:
    """The staging files of resumable uploads on one node."""

    def __init__(self, settings: Settings, uploads: UploadIndex, admission: Admission) -> None:
        self._settings = settings
        self._uploads = uploads
        self._admission = admission
        # Two buffers read ahead of the digest: together the spare one that a form would take.
        self.assemblies = Assemblies(settings.staging, settings.sizing.ring_buffer // 2)
        for upload in uploads.open_uploads():
            self._hold_space(upload)

    def begin(self, creation: Creation) -> Upload:
        """A new upload, its space taken. Raises ProblemError, DiskFull, DiskFailed."""
        if parts := self.parts(creation.claims.jti):
            upload = self._begin_beside(creation, parts)
        else:
            with StagingFile.create(
                self._settings.staging,
                creation.claims.file_id,
                self._settings.sizing,
                filesystem.of(self._settings.root),
            ) as staging:
                upload = creation.upload(staging.path.name, 0)
                self._reserve(creation, upload, staging)
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
        begun = sum(part.length or 0 for part in parts if part.offset)
        size = begun + (creation.length or 0)
        if size > creation.limit or end > 2 * creation.limit:
            raise too_large(max(size, end - creation.limit), creation.limit)
        upload = creation.upload(parts[0].staging, start)
        with self.open(upload) as staging:
            self._reserve(creation, upload, staging)
            self._uploads.add(upload)
        self.assemblies.progressed(parts)
        return upload

    def open(self, upload: Upload) -> StagingFile:
        """The upload's staging file, to go on where it is on disk. Raises ProblemError as well."""
        path = self._settings.staging / upload.staging
        position = upload.start + upload.offset
        try:
            return StagingFile.reopen(
                path,
                self._settings.sizing,
                _region(upload),
                position,
                filesystem.of(self._settings.root),
            )
        except RegionTaken:
            raise ProblemError(
                "upload-locked", "another request is still at this upload: try again"
            ) from None
        except FileNotFoundError:
            self._end(upload)
            raise ProblemError("upload-expired", "its bytes are gone: begin anew") from None

    def give_up(self, upload: Upload) -> None:
        """End an upload and give its space back, unless other parts are in its file."""
        self._end(upload)
        self._admission.hold(upload.upload_id, 0)
        if not self._uploads.needs(upload.staging):
            (self._settings.staging / upload.staging).unlink(missing_ok=True)
            self.assemblies.forget(upload.staging)
        _log.info("upload given up", upload_id=upload.upload_id, bytes=upload.offset)

    def _end(self, upload: Upload) -> None:
        """On a full disk too: it is how room is given back."""
        Reserve(self._settings).spend(lambda: self._uploads.end(upload.upload_id))

    def hash_behind(self, upload: Upload) -> None:
        """More of an upload is on disk: if it is a part, the file's beginning may have grown."""
        if upload.kind == "part":
            self.assemblies.progressed(self.parts(upload.jti))

    def still_needs(self, upload: Upload, size: int) -> None:
        """Some of what was promised to an upload is on disk; `size` bytes are still to come."""
        self._admission.hold_less(upload.upload_id, size)

    def parts(self, jti: str) -> list[Upload]:
        """The parts that a token began, by their place."""
        return [each for each in self._uploads.of_token(jti) if each.kind == "part"]

    def _reserve(self, creation: Creation, upload: Upload, staging: StagingFile) -> None:
        size = creation.space
        if not staging.reserve(size, upload.start):
            self._admission.hold(upload.upload_id, size)

    def _sync_name(self, staging: StagingFile) -> None:
        try:
            filesystem.of(self._settings.root).sync_directory(staging.path.parent)
        except OSError as error:
            raise DiskFailed(f"syncing the staging folder failed: {error.strerror}") from error

    def _hold_space(self, upload: Upload) -> None:
        """After a start: promise what an upload needs and the disk doesn't show as taken."""
        if upload.kind == "final":
            # The joining that a crash cut short; the parts are there to be joined again.
            self._end(upload)
            return
        size = upload.details.claims.size_limit if upload.length is None else upload.length
        try:
            with self.open(upload) as staging:
                if not staging.reserve(size, upload.start):
                    self._admission.hold(upload.upload_id, size - upload.offset)
        except DiskFull:
            # A power cut took the reservation, and something else has filled the disk since.
            self._admission.hold(upload.upload_id, size - upload.offset)
        except ProblemError as problem:
            # Its bytes are gone, or an old process drains after a reload and is writing them.
            _log.warning("upload not at hand", upload_id=upload.upload_id, reason=problem.slug)


def _region(upload: Upload) -> Region:
    # An upload alone in its file has all of it.
    return Region(upload.start, upload.length or 0) if upload.kind == "part" else Region(0, 2**62)
