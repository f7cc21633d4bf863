"""Final uploads (tus concatenation extension): parts that are complete become one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent.dialects.places import joined_uploads
from agent.dialects.request import ResumableRequest
from agent.host import filesystem
from agent.host.sha256 import Sha256
from agent.index.files import TokenUse
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.resumable.completion import name_of
from agent.resumable.creation import Creation, check_length
from agent.resumable.intake import Intake
from agent.resumable.parts import PartsBody, in_place
from agent.storage.sniffing import HEAD_SIZE
from agent.storage.sniffing import check as check_content
from agent.storage.staging import Region, StagingFile
from agent.telemetry.metrics import UploadTimer
from agent.uploads.admission import Demand
from agent.uploads.failures import failures_as_problems
from agent.uploads.pipeline import receive
from agent.uploads.policy import UploadPolicy
from agent.uploads.shares import Sender
from portside.wire.files import StoredFile


class Concatenation:
    """Joins parts on one node."""

    def __init__(self, policy: UploadPolicy, intake: Intake) -> None:
        self._policy = policy
        self._settings = intake.settings
        self._disk = filesystem.of(intake.settings.root)
        self._uploads = intake.uploads
        self._staged = intake.staged
        self._finisher = intake.finisher
        self._admission = intake.admission
        self._health = intake.health

    def join(
        self, creation: Creation, use: TokenUse, asked: ResumableRequest, timer: UploadTimer
    ) -> tuple[str, StoredFile | None]:
        """Make one file of complete parts: the final upload's id, and the file.

        Asked again it is the same file, None if that was deleted since. Raises ProblemError.
        """
        for other in self._uploads.of_token(creation.claims.jti):
            if other.kind == "final" and other.state == "COMPLETE":
                # The same parts, whatever name their URLs have for this node.
                if joined_uploads(other.details.concat) != asked.parts:
                    raise ProblemError("token-used", "this token's file has other parts than these")
                return other.upload_id, self._policy.index.find(creation.claims.file_id)
        parts = self._listed(creation, asked)
        size = sum(part.offset for part in parts)
        check_length(creation.claims, "final", size, creation.limit)
        self._policy.check_unused(use)
        self._policy.check_health()
        final = replace(creation.upload(parts[0].staging, 0, 0), length=size)
        with failures_as_problems(self._health, creation.limit):
            act = self._join_in_place if in_place(parts) else self._copy_together
            return final.upload_id, act(final, parts, size, timer)

    @contextmanager
    def _under_way(self, final: Upload) -> Iterator[None]:
        """No other request joins these parts in this context.

        Inside an admission: by that a process that starts meanwhile knows that nobody was killed.
        """
        self._uploads.add(final)
        try:
            yield
        finally:
            # Unless it is complete by now: then the row stays.
            self._uploads.end(final.upload_id)

    def _join_in_place(
        self, final: Upload, parts: list[Upload], size: int, timer: UploadTimer
    ) -> StoredFile:
        """The parts' own file is the file: what is left is the rest of its digest."""
        path, sizing = self._settings.staging / final.staging, self._settings.sizing
        with (
            self._admission.admit(Demand(final.upload_id, None, 0, sender=_sender(final))),
            self._under_way(final),
            StagingFile.reopen(path, sizing, Region(0, size), size, self._disk) as staging,
        ):
            with timer.phase("receive"):
                digest = self._staged.assemblies.digest(parts)
            with path.open("rb") as file:
                check_content(name_of(final), file.read(HEAD_SIZE))
            stored = self._finisher.finish(final, staging, digest, timer)
        self._staged.assemblies.forget(final.staging)
        return stored

    def _copy_together(
        self, final: Upload, parts: list[Upload], size: int, timer: UploadTimer
    ) -> StoredFile:
        """Parts that are joined in another order than they lie in are written once more."""
        source, digest = self._settings.staging / final.staging, Sha256()
        sizing, name = self._settings.sizing, name_of(final)
        with (
            self._admission.admit(
                Demand(final.upload_id, None, size, inodes=1, sender=_sender(final))
            ) as reservation,
            self._under_way(final),
            StagingFile.create(
                self._settings.staging, final.details.claims.file_id, sizing, self._disk
            ) as staging,
            PartsBody(source, parts) as body,
        ):
            staging.take_in_steps(reservation.growing, size)
            with timer.phase("receive"):
                receive(
                    body,
                    staging,
                    sizing,
                    size,
                    (digest.update,),
                    lambda head: check_content(name, head),
                )
            stored = self._finisher.finish(final, staging, digest.hexdigest(), timer)
        self._staged.assemblies.forget(final.staging)
        source.unlink(missing_ok=True)
        return stored

    def _listed(self, creation: Creation, asked: ResumableRequest) -> list[Upload]:
        """The parts that a final upload names, in its order."""
        known = {part.upload_id: part for part in self._staged.parts(creation.claims.jti)}
        listed = asked.parts
        if len(set(listed)) != len(listed):
            raise ProblemError("malformed-request", "Upload-Concat names a part twice")
        if unknown := [part for part in listed if part not in known]:
            raise ProblemError("upload-unknown", f"{unknown[0]} is no part of this token's file")
        parts = [known[part] for part in listed]
        if missing := [part for part in parts if part.offset != part.length]:
            raise ProblemError(
                "parts-incomplete", f"{len(missing)} of {len(parts)} parts are not complete yet"
            )
        return parts


def _sender(final: Upload) -> Sender:
    return Sender(final.jti, final.details.claims.sub)
