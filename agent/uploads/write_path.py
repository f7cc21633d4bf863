"""The write path: one upload from its plan to the answer, every step in order.

Admit, stage, receive, verify, make durable, commit. Whatever goes wrong on the way becomes one
problem with a clear meaning, the space is given back, and nothing becomes visible.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.host import filesystem
from agent.host.sha256 import Sha256
from agent.incoming.body import Body, OpenBody
from agent.incoming.form import FormFile
from agent.problems import ProblemError
from agent.storage.commit import Committer
from agent.storage.sniffing import check as check_content
from agent.storage.staging import StagingFile
from agent.telemetry.metrics import UploadTimer
from agent.telemetry.progress import ProgressLog, Transfer
from agent.uploads.admission import Admission
from agent.uploads.failures import failures_as_problems
from agent.uploads.pipeline import BodyTooLarge, read_through, receive
from agent.uploads.policy import UploadPolicy, token_used, unnamed
from agent.uploads.preflight import Plan
from portside.sizing import Sizing
from portside.wire.files import StoredFile


@dataclass(frozen=True, slots=True)
class WritePath:
    """Stores uploads on one node."""

    policy: UploadPolicy
    admission: Admission
    committer: Committer
    progress: ProgressLog

    @property
    def sizing(self) -> Sizing:
        """What memory and disk an upload may take."""
        return self.policy.settings.sizing

    def store(self, plan: Plan, open_body: OpenBody, timer: UploadTimer) -> StoredFile:
        """Take one upload to its end. Raises ProblemError; then nothing of it is left behind,
        unless what failed was only its copy to another node.
        """
        stored = self._take(plan, open_body, timer)
        # Its slot is free by now: two nodes full of uploads would wait for each other's.
        return self.policy.acknowledgement.wait(plan.claims, stored)

    def _take(self, plan: Plan, open_body: OpenBody, timer: UploadTimer) -> StoredFile:
        with (
            failures_as_problems(self.policy.health, plan.limit),
            self.admission.admit(plan.demand) as reservation,
            self.progress.under_way(plan.claims.jti),
        ):
            if plan.stored is not None:
                return self._compare(plan, plan.stored, reservation.open_body(open_body))
            directory, file_id = self.policy.settings.staging, plan.claims.file_id
            disk = filesystem.of(self.policy.settings.root)
            with StagingFile.create(directory, file_id, self.sizing, disk) as staging:
                most = plan.limit if plan.length is None else plan.length
                staging.take_in_steps(reservation.growing, most)
                body = reservation.open_body(open_body)
                name = self._name(plan, body)
                return self._store(plan, name, reservation.within_quota(body), staging, timer)

    def _store(
        self, plan: Plan, name: str, body: Body, staging: StagingFile, timer: UploadTimer
    ) -> StoredFile:
        digest = Sha256()
        transfer = Transfer(plan.claims.jti, name, plan.claims.sub, plan.length, is_whole=True)
        with self.progress.follow(transfer) as moved, timer.phase("receive"):
            size = receive(
                body,
                staging,
                self.sizing,
                plan.limit,
                consumers=(digest.update,),
                check_head=lambda head: check_content(name, head),
                at_end=timer.last_byte,
                moved=moved,
            )
        timer.received(size)
        if plan.announced not in (None, size):
            raise ProblemError(
                "size-mismatch", f"{plan.announced} bytes were announced, {size} came"
            )
        verify(plan.claims.size, size, plan.sha256, digest.hexdigest())
        # It may have been revoked while the bytes came, which can take hours.
        self.policy.revocations.refuse(plan.claims.jti)
        with timer.phase("sync"):
            staging.make_durable()
        with timer.phase("commit"):
            stored = self.committer.store(
                plan.claims, name, staging, digest.hexdigest(), plan.token
            )
        timer.committed(size)
        return stored

    def _compare(self, plan: Plan, stored: StoredFile, body: Body) -> StoredFile:
        """The same content again is the same file, with the same receipt. Nothing is written."""
        digest = Sha256()
        try:
            size = read_through(body, self.sizing, plan.limit, (digest.update,))
        except BodyTooLarge:
            raise token_used(stored) from None
        if size != stored.size or digest.hexdigest() != stored.sha256:
            raise token_used(stored)
        return stored

    def _name(self, plan: Plan, body: Body) -> str:
        if plan.name is not None:
            return plan.name
        filename = body.filename if isinstance(body, FormFile) else None
        if not filename:
            raise unnamed()
        return self.policy.safe_name(plan.claims, filename, own=None)


def verify(claimed: int | None, size: int, announced: str | None, sha256: str) -> None:
    """Compare what came with what was promised. Raises ProblemError."""
    if claimed is not None and size != claimed:
        raise ProblemError("size-mismatch", f"the token is for {claimed} bytes, {size} arrived")
    if announced is not None and sha256 != announced:
        raise ProblemError(
            "digest-mismatch", f"the content's SHA-256 is {sha256}, {announced} was announced"
        )
