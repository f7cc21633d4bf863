"""Uploads under way, as rows: what was promised to their clients, and how far each has come.

The offset in a row is durable before it is written, and the row before anyone is told. With it goes
the state of the SHA-256 at that very offset, so that a restart costs nothing at the end.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from agent.index.database import Database
from agent.problems import ProblemError
from portside.tokens import LEEWAY
from portside.wire.claims import UploadClaims
from portside.wire.fields import Sha256

Kind = Literal["whole", "part", "final"]
State = Literal["OPEN", "COMPLETE", "GONE"]

MOST_PARTS = 300
"""Parts of one file: their names travel in one header of the request that joins them."""

REMEMBERED = 86400
"""Seconds after its deadline for which an upload is answered with 410 instead of 404."""


class Copied(BaseModel):
    """What a copy from another node has from its original."""

    model_config = ConfigDict(frozen=True)

    source: str
    """The node that sends it."""
    path: PurePosixPath
    committed_at: datetime
    expires_at: int | None = None
    scan: bool = False
    """Whether it is held until this node's scanner has looked at it."""


class Details(BaseModel):
    """What an upload was created with."""

    model_config = ConfigDict(frozen=True)

    claims: UploadClaims
    dialect: Literal["tus", "ietf", "replicate"]
    name: str | None = None
    metadata: str = ""
    concat: str = ""
    sha256: Sha256 | None = None
    copied: Copied | None = None
    token: str | None = None
    """What the claims were read from; of a copy what it came with."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One resumable upload. `start` is its place in the staging file, which parts share."""

    upload_id: str
    jti: str
    kind: Kind
    state: State
    staging: str
    path: str | None
    start: int
    length: int | None
    offset: int
    hash_state: bytes | None
    deadline: int
    details: Details
    promised: int = 0
    """Bytes of disk that it was promised at its beginning."""

    @property
    def is_over(self) -> bool:
        """Whether its deadline has passed, or it was ended."""
        return self.state == "GONE" or (
            self.state == "OPEN" and time.time() >= self.deadline + LEEWAY
        )


class UploadIndex:
    """The rows. Every change is durable on return."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, upload: Upload) -> None:
        """A new upload. Raises ProblemError when its token has one that excludes it."""
        with self._database.transaction() as connection:
            others = connection.execute(
                "SELECT kind FROM uploads WHERE jti = ? AND state != 'GONE'", (upload.jti,)
            ).fetchall()
            kinds = {kind for (kind,) in others}
            if kinds - ({"part"} if upload.kind != "whole" else set()):
                raise ProblemError(
                    "upload-in-progress", "this token's upload has begun: go on with that one"
                )
            if upload.kind == "part" and len(others) >= MOST_PARTS:
                raise ProblemError("malformed-request", f"a file has at most {MOST_PARTS} parts")
            connection.execute(
                "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(upload)
            )

    def find(self, upload_id: str) -> Upload | None:
        """The upload with this id, over or not."""
        row = self._database.row("SELECT * FROM uploads WHERE upload_id = ?", (upload_id,))
        return None if row is None else _upload(row)

    def of_token(self, jti: str) -> list[Upload]:
        """The uploads that a token began and that are not gone, by their place in the file."""
        rows = self._database.rows(
            "SELECT * FROM uploads WHERE jti = ? AND state != 'GONE' ORDER BY start, rowid", (jti,)
        )
        return [_upload(row) for row in rows]

    def open_uploads(self) -> list[Upload]:
        """Every upload that may go on."""
        rows = self._database.rows("SELECT * FROM uploads WHERE state = 'OPEN'")
        return [_upload(row) for row in rows]

    def files_begun(self) -> int:
        """Files in staging that an upload may go on in; the parts of one share it."""
        row = self._database.row("SELECT count(DISTINCT staging) FROM uploads WHERE state = 'OPEN'")
        return 0 if row is None else int(row[0])

    def begun(self) -> set[str]:
        """The tokens of open uploads that have a byte."""
        rows = self._database.rows(
            "SELECT DISTINCT jti FROM uploads WHERE state = 'OPEN' AND offset > 0"
        )
        return {str(jti) for (jti,) in rows}

    def promises(self) -> list[tuple[str, int, int]]:
        """Each open upload's id, the bytes of disk that it was promised, and its offset."""
        return self._database.rows(
            "SELECT upload_id, promised, offset FROM uploads WHERE state = 'OPEN' AND promised > 0"
        )

    def record(self, upload: Upload, offset: int, hash_state: bytes | None) -> None:
        """Bytes up to `offset` are on disk. An offset never goes back."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE uploads SET offset = ?, hash_state = ? "
                "WHERE upload_id = ? AND state = 'OPEN' AND offset <= ?",
                (offset, hash_state, upload.upload_id, offset),
            )

    def set_length(self, upload: Upload, length: int) -> Upload:
        """The length of an upload that began without one; so much is promised to it from now on."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE uploads SET length = ?, promised = ? WHERE upload_id = ?",
                (length, length, upload.upload_id),
            )
        return replace(upload, length=length, promised=length)

    def promise(self, upload: Upload, size: int) -> None:
        """An upload of unknown length may come to `size` bytes."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE uploads SET promised = ? WHERE upload_id = ? AND promised < ?",
                (size, upload.upload_id, size),
            )

    def end(self, upload_id: str) -> None:
        """The upload won't go on; a finished one stays what it is."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE uploads SET state = 'GONE', hash_state = NULL "
                "WHERE upload_id = ? AND state = 'OPEN'",
                (upload_id,),
            )

    def close(self, upload_id: str) -> None:
        """Nobody asks for a finished upload any more; its file stays."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE uploads SET state = 'GONE' WHERE upload_id = ? AND state = 'COMPLETE'",
                (upload_id,),
            )

    def forget_ended(self, jti: str) -> None:
        """Remove what is known of a token's uploads that won't go on."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM uploads WHERE jti = ? AND state != 'OPEN'", (jti,))

    def needs(self, staging: str) -> bool:
        """Whether an upload goes on in this staging file."""
        query = "SELECT 1 FROM uploads WHERE staging = ? AND state = 'OPEN'"
        return self._database.row(query, (staging,)) is not None

    def is_being_stored(self, upload: Upload) -> bool:
        """Whether its file is about to be committed, or is: by a process that may be another."""
        query = "SELECT 1 FROM files WHERE jti = ? AND state IN ('PENDING', 'COMMITTED')"
        return self._database.row(query, (upload.jti,)) is not None

    def reserves(self, path: PurePosixPath, jti: str) -> bool:
        """Whether an upload of another token is on its way to this path."""
        query = "SELECT 1 FROM uploads WHERE path = ? AND state = 'OPEN' AND jti != ?"
        return self._database.row(query, (str(path), jti)) is not None

    def overdue(self) -> list[Upload]:
        """Uploads that won't go on: past their deadline, not begun in time, or revoked.

        Until its token's `exp` an upload has to have begun, which is when it has a byte. One that
        is joined of parts has theirs, and a part of no length is all there.
        """
        before = int(time.time()) - LEEWAY
        rows = self._database.rows(
            "SELECT * FROM uploads WHERE state = 'OPEN' AND (deadline < ? OR (offset = 0 "
            "AND kind != 'final' AND length IS NOT 0 "
            "AND json_extract(details, '$.claims.exp') < ?) "
            "OR jti IN (SELECT jti FROM revoked UNION SELECT token_id FROM revoked_here))",
            (before, before),
        )
        return [_upload(row) for row in rows]

    def forget_old(self) -> int:
        """Remove rows of which nobody will ask any more; returns how many."""
        with self._database.transaction() as connection:
            return connection.execute(
                "DELETE FROM uploads WHERE state != 'OPEN' AND deadline < ?",
                (int(time.time()) - REMEMBERED,),
            ).rowcount


def contiguous(parts: Sequence[Upload]) -> int:
    """Bytes from the file's beginning up to the first that is not there yet; `parts` in order."""
    end = 0
    for part in parts:
        if part.start != end:
            break
        end += part.offset
        if part.offset != part.length:
            break
    return end


def _row(upload: Upload) -> tuple[Any, ...]:
    return (
        upload.upload_id,
        upload.jti,
        upload.kind,
        upload.state,
        upload.staging,
        upload.path,
        upload.start,
        upload.length,
        upload.offset,
        upload.hash_state,
        upload.deadline,
        upload.details.model_dump_json(exclude_none=True),
        upload.promised,
    )


def _upload(row: tuple[Any, ...]) -> Upload:
    upload_id, jti, kind, state, staging, path, start, length, offset, state_of_hash, *rest = row
    deadline, details, promised = rest
    return Upload(
        upload_id=upload_id,
        jti=jti,
        kind=kind,
        state=state,
        staging=staging,
        path=path,
        start=start,
        length=length,
        offset=offset,
        hash_state=state_of_hash,
        deadline=deadline,
        details=Details.model_validate_json(details),
        promised=promised,
    )
