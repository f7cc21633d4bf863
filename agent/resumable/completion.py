"""The end of a resumable upload: from all its bytes on disk to the stored file."""

from __future__ import annotations

from pathlib import PurePosixPath

from agent.index.database import Database
from agent.index.files import name_taken
from agent.index.uploads import Upload, UploadIndex
from agent.problems import ProblemError
from agent.resumable.staging import StagedUploads
from agent.storage.commit import Committer
from agent.storage.staging import StagingFile
from agent.telemetry.metrics import UploadTimer
from agent.uploads.admission import Admission
from agent.uploads.write_path import verify
from portside.wire.files import StoredFile


class Completion:
    """Finishes uploads on one node."""

    def __init__(
        self,
        uploads: UploadIndex,
        staged: StagedUploads,
        admission: Admission,
        committer: Committer,
    ) -> None:
        self._uploads = uploads
        self._staged = staged
        self._admission = admission
        self._committer = committer

    def finish(
        self, upload: Upload, staging: StagingFile, sha256: str, timer: UploadTimer
    ) -> StoredFile:
        """From all the bytes to the stored file. What can never become it is given up."""
        details = upload.details
        try:
            verify(details.claims.size, staging.size, details.sha256, sha256)
        except ProblemError:
            self._staged.give_up(upload)
            raise
        with timer.phase("sync"):
            staging.make_durable()
        if upload.length is None:
            self._uploads.set_length(upload, staging.size)
        with timer.phase("commit"):
            try:
                stored = self._committer.store(
                    *(details.claims, name_of(upload), staging, sha256),
                    *(details.token, details.copied),
                )
            except ProblemError:
                # The name or the token was taken meanwhile, and stays so.
                self._staged.give_up(upload)
                raise
        timer.committed(stored.size)
        return stored

    def repair(
        self, database: Database, upload: Upload, staging: StagingFile, timer: UploadTimer
    ) -> StoredFile:
        """Good bytes take the place of damaged ones in quarantine; the file is back as its row has
        it, which was told of holds and of its end meanwhile. Raises ProblemError.
        """
        file_id = upload.details.claims.file_id
        with timer.phase("sync"):
            staging.make_durable()
        with timer.phase("commit"):
            # First of all: a push that is cut short behind this begins anew.
            self._uploads.end(upload.upload_id)
            try:
                stored = self._committer.repair(database, file_id, staging)
            except FileExistsError:
                raise name_taken(PurePosixPath(str(upload.path))) from None
            except FileNotFoundError:
                raise ProblemError(
                    "upload-locked", "the damaged copy was settled meanwhile: ask again"
                ) from None
        timer.committed(stored.size)
        return stored


def name_of(upload: Upload) -> str:
    """The name that the file will have."""
    assert upload.details.name is not None  # noqa: S101 (held by creation_of)
    return upload.details.name
