"""The write path: one upload from its plan to the answer, every step in order.

Admit, stage, receive, verify, make durable, commit. Whatever goes wrong on the way becomes one
problem with a clear meaning, the space is given back, and nothing becomes visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from agent.admission import Admission
from agent.body import Body, BodyCut, FormFile, FormRefused
from agent.commit import Committer
from agent.health import NodeHealth
from agent.index import Intent
from agent.pipeline import BodyTooLarge, Received, receive
from agent.preflight import Plan, Preflight
from agent.problems import ProblemError
from agent.settings import Settings
from agent.sniffing import ContentRefused
from agent.sniffing import check as check_content
from agent.staging import DiskFailed, DiskFull, StagingFile
from portside.quantities import format_size
from portside.wire import StoredFile

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class WritePath:
    """Stores uploads on one node."""

    settings: Settings
    preflight: Preflight
    admission: Admission
    committer: Committer
    health: NodeHealth

    def store(self, plan: Plan, open_body: Callable[[], Body]) -> StoredFile:
        """Take one upload to its end. Raises ProblemError; then nothing of it is left behind."""
        started = time.monotonic()
        try:
            with self.admission.admit(plan.demand) as reservation:
                directory, file_id = self.settings.staging, plan.claims.file_id
                with StagingFile(directory, file_id, self.settings.sizing) as staging:
                    if staging.reserve(plan.demand.disk):
                        reservation.allocated()
                    stored = self._store(plan, open_body(), staging)
        except ProblemError:
            raise
        except (BodyCut, FormRefused, BodyTooLarge, ContentRefused) as error:
            raise _problem_of_body(error, plan) from None
        except DiskFull as error:
            raise ProblemError("no-space", f"{error}: the upload is not acknowledged") from error
        except DiskFailed as error:
            if error.final:
                self.health.fault("disk-failed", str(error))
            raise ProblemError(
                "storage-failed", f"{error}: the upload is not acknowledged"
            ) from error
        self.health.count_commit()
        _log.info(
            "upload committed",
            file_id=stored.file_id,
            path=str(stored.path),
            size=stored.size,
            owner=stored.owner,
            seconds=round(time.monotonic() - started, 3),
        )
        return stored

    def _store(self, plan: Plan, body: Body, staging: StagingFile) -> StoredFile:
        name = self._name(plan, body)
        received = receive(
            body,
            staging,
            self.settings.sizing,
            plan.limit,
            check_head=lambda head: check_content(name, head),
        )
        _verify(plan, received)
        staging.make_durable()
        stored = self.committer.describe(plan.claims, name, received.size, received.sha256)
        intent = Intent(plan.claims.jti, staging.path.name, stored)
        try:
            self.committer.commit(intent)
        except DiskFailed:
            # The intent is on disk or may be: only the next start can tell, and needs the data.
            staging.keep()
            raise
        staging.keep()
        return stored

    def _name(self, plan: Plan, body: Body) -> str:
        if plan.name is not None:
            return plan.name
        filename = body.filename if isinstance(body, FormFile) else None
        if not filename:
            raise ProblemError(
                "name-refused",
                "the upload has no name: put one into the URL, the form or the token",
            )
        return self.preflight.check_name(plan.claims, filename)


def _verify(plan: Plan, received: Received) -> None:
    if plan.claims.size is not None and received.size != plan.claims.size:
        raise ProblemError(
            "size-mismatch",
            f"the token is for {plan.claims.size} bytes, {received.size} arrived",
        )
    if plan.sha256 is not None and received.sha256 != plan.sha256:
        raise ProblemError(
            "digest-mismatch",
            f"the content's SHA-256 is {received.sha256}, {plan.sha256} was announced",
        )


def _problem_of_body(error: Exception, plan: Plan) -> ProblemError:
    if isinstance(error, BodyCut):
        return ProblemError("body-cut", f"{error}: nothing was stored, send it again")
    if isinstance(error, BodyTooLarge):
        return ProblemError(
            "too-large", f"more than {format_size(plan.limit)} were sent: nothing was stored"
        )
    if isinstance(error, ContentRefused):
        return ProblemError("type-refused", str(error))
    return ProblemError("malformed-request", str(error))
