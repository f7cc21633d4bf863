"""One file's way from another system's folder to a stored file: judged, read, committed.

By its name where it lies on the node's filesystem: a second name in `staging`, the commit of an
upload, and last its old name goes. So at every moment the file is there under its old name, its new
one, or both; of a name in staging that no commit needs every sweep relieves the node. From another
filesystem its bytes take the same way as those of an upload, and the original stays.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from agent.adoption.naming import shown, stored_name
from agent.adoption.outcome import How, Outcome
from agent.adoption.privileges import Privileges
from agent.adoption.source import Left, Source
from agent.adoption.walk import Found
from agent.host import filesystem
from agent.host.sha256 import Sha256
from agent.index.database import Database
from agent.index.files import FileIndex, stored_of
from agent.index.uploads import UploadIndex
from agent.index.usage import UsageIndex
from agent.problems import ProblemError
from agent.settings import Settings
from agent.storage.commit import Committer
from agent.storage.sniffing import ContentRefused
from agent.storage.sniffing import check as check_content
from agent.storage.staging import (
    SUFFIX,
    DiskFailed,
    DiskFull,
    StagingFile,
    must_have_room,
    translated,
)
from portside.names import NameRefused, named_path
from portside.quantities import format_size
from portside.tokens import LEEWAY
from portside.wire.claims import AdoptionClaims, UploadClaims
from portside.wire.fields import Layout
from portside.wire.files import StoredFile

Way = Literal["auto", "move", "copy", "link"]
"""`auto`: by its name where that can be, else its bytes."""

Pace = Callable[[int], None]
"""Called with the bytes of each piece that was read: it may wait, or raise to stop."""


class OrderEnded(Exception):
    """The issuer's order counts no more; the message says why."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an issuer allows, and the token that says so. Without a token nothing is stored."""

    claims: AdoptionClaims
    token: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A file that may be adopted: under which name, how, and what is like it already."""

    name: str
    how: How
    alike: tuple[StoredFile, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Adopter:
    """Adopts files on one node. `refuse` raises ProblemError once the order is revoked."""

    settings: Settings
    database: Database
    committer: Committer
    privileges: Privileges
    order: Order
    layout: Layout
    way: Way
    pace: Pace
    refuse: Callable[[str], None]

    def foresee(self, found: Found) -> Outcome:
        """What would become of a file. Its bytes aren't read, but for the first."""
        try:
            with Source.open(found, self.privileges) as source:
                judged = self._judge(source)
        except Left as left:
            return Outcome(shown(found.path), "left", str(left), size=found.seen.st_size)
        alike = "is stored already if the content is the same too" if judged.alike else None
        return Outcome(
            shown(found.path),
            "would-be",
            alike,
            how=judged.how,
            name=judged.name,
            size=source.size,
            notes=judged.notes,
        )

    def adopt(self, found: Found) -> Outcome:
        """Make one file a stored one.

        Raises OrderEnded, DiskFull, DiskFailed, sqlite3.Error, and what `pace` raises: then it is
        as it was, or what was begun is finished by the next run or the agent's next start. After
        DiskFailed it may be the agent's user's until the next run takes it, with its bytes and old
        name as they were.
        """
        try:
            with Source.open(found, self.privileges) as source:
                judged = self._judge(source)
                return self._known(source, judged) or self._take(source, judged)
        except Left as left:
            return Outcome(shown(found.path), "left", str(left), size=found.seen.st_size)

    def is_known(self, found: Found) -> bool:
        """Whether a stored file has its name and size: one that an earlier run has copied."""
        try:
            name = stored_name(found.name, self.settings.extensions)
        except NameRefused:
            return False
        return bool(self._alike(name, found.seen.st_size))

    def _judge(self, source: Source) -> Judged:
        try:
            name = stored_name(source.found.name, self.settings.extensions)
        except NameRefused as refused:
            raise Left(str(refused)) from None
        if source.size > self.settings.max_size:
            raise Left(
                f"{format_size(source.size)} is too large: at most "
                f"{format_size(self.settings.max_size)} are stored"
            )
        try:
            check_content(name, source.head())
        except ContentRefused as refused:
            raise Left(str(refused)) from None
        alike = self._alike(name, source.size)
        how, notes = self._way_of(source, alike)
        if name != source.found.name.decode("utf-8", "replace"):
            notes = (f"is called {name}", *notes)
        if source.is_sparse:
            holes = "is sparse: its copy takes all of its bytes" if how == "copy" else "is sparse"
            notes = (*notes, holes)
        path = named_path(self.order.claims.namespace, name) if self.layout == "named" else None
        if path is not None and not alike and self._is_taken(path):
            raise Left(f"{path} is stored already and has other content: rename one of them")
        return Judged(name, how, alike, notes)

    def _way_of(self, source: Source, alike: tuple[StoredFile, ...]) -> tuple[How, tuple[str, ...]]:
        """By its name or its bytes, and what is to be said of that. Raises Left."""
        if self.way == "copy":
            return "copy", ()
        how: How = "link" if self.way == "link" else "move"
        is_ours = any(source.is_also(self.settings.uploads / each.path) for each in alike)
        obstacle = None
        if source.device != self.settings.root.stat().st_dev:
            obstacle = "lies on another filesystem"
        elif source.names > 1 and not is_ours:
            obstacle = (
                f"has {source.names} names (hard links): under another one it could be changed"
            )
        elif source.owner != self.privileges.uid and not self.privileges.has_root:
            raise Left(f"belongs to user {source.owner}: run this as root, or have it copied")
        if obstacle is None:
            return how, ()
        if self.way != "auto":
            raise Left(f"{obstacle}: it can be copied (--copy)")
        return "copy", () if source.names == 1 else (f"{obstacle}: it is copied and stays",)

    def _alike(self, name: str, size: int) -> tuple[StoredFile, ...]:
        """Stored files of this owner, name and size."""
        claims = self.order.claims
        rows = self.database.rows(
            "SELECT stored FROM files WHERE size = ? AND state = 'COMMITTED' AND name = ? "
            "AND namespace = ? AND owner = ? ORDER BY file_id",
            (size, name, claims.namespace, claims.owner),
        )
        return tuple(stored_of(text) for (text,) in rows)

    def _is_taken(self, path: PurePosixPath) -> bool:
        return (
            FileIndex(self.database).path_taken(path)
            or (self.settings.uploads / path).exists()
            or UploadIndex(self.database).reserves(path, "")
        )

    def _known(self, source: Source, judged: Judged) -> Outcome | None:
        """The outcome of one that is stored already; None of a new one."""
        if not judged.alike:
            return None
        for each in judged.alike:
            if source.is_also(self.settings.uploads / each.path):
                # An earlier run was cut short before its old name went; or it is a link that stays.
                if judged.how == "move":
                    self._remove_name(source)
                return _known_as(source, judged, each)
        sha256 = self._hash(source)
        for each in judged.alike:
            if each.sha256 == sha256:
                return _known_as(source, judged, each)
        if self.layout == "named" and self._is_taken(
            named_path(self.order.claims.namespace, judged.name)
        ):
            raise Left(f"{judged.name} is stored already and has other content: rename one of them")
        return None

    def _take(self, source: Source, judged: Judged) -> Outcome:
        self._must_be_ordered()
        self._must_fit(source.size)
        store = self._by_bytes if judged.how == "copy" else self._by_name
        try:
            stored = store(source, judged)
        except ProblemError as problem:
            raise Left(problem.detail) from None
        if judged.how == "move":
            self._remove_name(source)
        return Outcome(
            shown(source.found.path),
            "adopted",
            how=judged.how,
            name=stored.name,
            file_id=stored.file_id,
            path=str(stored.path),
            url=stored.url,
            size=stored.size,
            sha256=stored.sha256,
            notes=judged.notes,
        )

    def _must_be_ordered(self) -> None:
        """Raise OrderEnded unless the order counts at this moment."""
        claims = self.order.claims
        if time.time() >= claims.exp:
            ended = datetime.fromtimestamp(claims.exp, UTC)
            raise OrderEnded(
                f"the order has ended at {ended:%Y-%m-%d %H:%M:%S} UTC: mint another one, and give "
                "the same command again"
            )
        try:
            self.refuse(claims.jti)
        except ProblemError as problem:
            raise OrderEnded(f"the order is revoked: {problem.detail}") from None

    def _must_fit(self, size: int) -> None:
        """Raise Left when the owner may not have as much here."""
        quota, owner = self.order.claims.quota, self.order.claims.owner
        if quota is None:
            return
        used = UsageIndex(self.database).of(owner, ())
        if quota.files is not None and used.files + 1 > quota.files:
            raise Left(f"{owner} may have {quota.files} files on this node, and has them")
        if quota.bytes is not None and used.bytes + size > quota.bytes:
            raise Left(
                f"{owner} may have {format_size(quota.bytes)} on this node, and has "
                f"{format_size(used.bytes)}"
            )

    def _by_name(self, source: Source, judged: Judged) -> StoredFile:
        settings = self.settings
        must_have_room(settings.root, 0, settings.sizing.disk_kept_free)
        sha256 = self._hash(source)
        claims = self._claims_of(source, judged, sha256)
        place = settings.staging / f"{claims.file_id}.{secrets.token_hex(4)}{SUFFIX}"
        try:
            source.link(place)
        except OSError as error:
            raise translated(error, "linking into staging") from error
        try:
            source.must_be_unchanged()
            return self.committer.adopt(
                claims, judged.name, place, source.size, sha256, self.order.token
            )
        except (Left, ProblemError, DiskFull):
            source.undo(place)
            raise

    def _by_bytes(self, source: Source, judged: Judged) -> StoredFile:
        settings = self.settings
        must_have_room(settings.root, source.size, settings.sizing.disk_kept_free)
        claims = self._claims_of(source, judged, None)
        disk, digest = filesystem.of(settings.root), Sha256()
        with StagingFile.create(settings.staging, claims.file_id, settings.sizing, disk) as staging:
            staging.reserve(source.size)
            for piece in source.pieces():
                digest.update(piece)
                staging.write(piece)
                self.pace(len(piece))
            source.must_be_unchanged()
            staging.make_durable()
            try:
                stored = self.committer.adopt(
                    *(claims, judged.name, staging.path, staging.size, digest.hexdigest()),
                    self.order.token,
                )
            except DiskFailed:
                # The intent is on disk or may be: only the next start can tell, and needs the data.
                staging.keep()
                raise
            staging.keep()
            return stored

    def _hash(self, source: Source) -> str:
        """Its SHA-256. Raises Left when it changes meanwhile."""
        digest = Sha256()
        for piece in source.pieces():
            digest.update(piece)
            self.pace(len(piece))
        source.must_be_unchanged()
        return digest.hexdigest()

    def _claims_of(self, source: Source, judged: Judged, sha256: str | None) -> UploadClaims:
        """What an upload's token would say of it: it is stored by the same rules."""
        order, now = self.order.claims, int(time.time())
        return UploadClaims(
            iss=order.iss,
            aud=order.aud,
            sub=order.owner,
            jti=secrets.token_hex(16),
            iat=now,
            nbf=now - LEEWAY,
            exp=order.exp,
            session_deadline=order.exp,
            file_id=secrets.token_hex(16),
            namespace=order.namespace,
            name=judged.name,
            layout=self.layout,
            size=source.size,
            sha256=sha256,
            app=order.app,
            quota=order.quota,
        )

    def _remove_name(self, source: Source) -> None:
        try:
            source.remove_name()
        except OSError as error:
            raise Left(
                f"is stored, and can't lose its old name: {error.strerror}: remove that yourself"
            ) from error


def _known_as(source: Source, judged: Judged, stored: StoredFile) -> Outcome:
    return Outcome(
        shown(source.found.path),
        "already",
        name=judged.name,
        file_id=stored.file_id,
        path=str(stored.path),
        url=stored.url,
        size=stored.size,
        sha256=stored.sha256,
    )
