"""How a resumable upload begins: let in or refused, and once, however often it is asked for."""

from __future__ import annotations

import threading

from agent.dialects.patience import patience_of
from agent.dialects.request import ResumableRequest
from agent.index.files import TokenUse
from agent.index.uploads import Upload
from agent.problems import ProblemError
from agent.resumable.creation import Creation, creation_of
from agent.resumable.intake import Intake
from agent.uploads.admission import Demand
from agent.uploads.failures import failures_as_problems
from agent.uploads.policy import UploadPolicy
from agent.uploads.shares import Sender
from portside.wire.status import INODES_PER_FILE


class Beginning:
    """Creations on one node. Thread-safe."""

    def __init__(self, policy: UploadPolicy, intake: Intake) -> None:
        self._policy = policy
        self._uploads = intake.uploads
        self._admission = intake.admission
        self._health = intake.health
        self._staged = intake.staged
        self._creating = threading.Lock()

    def asked_for(self, asked: ResumableRequest) -> tuple[Creation, TokenUse]:
        """What a creation asks for, and what its token was used for. Raises ProblemError."""
        claims = self._policy.claims(asked.authorization, resuming=_is_joining(asked))
        use = self._policy.use_of(claims)
        return creation_of(asked, claims, use, self._policy), use

    def check(self, asked: ResumableRequest) -> None:
        """Whether a creation would be let in, before its body. Raises ProblemError if not."""
        creation, use = self.asked_for(asked)
        # Parts that are joined have their space, and joining them again is answered again.
        if creation.kind != "final" and self._begun(creation) is None:
            self._check_new(creation, use)
        if asked.body_length != 0:
            sender = Sender(creation.claims.jti, creation.claims.sub, asked.address)
            demand = Demand(f"body of {creation.claims.jti}", None, 0, sender=sender)
            with patience_of(creation.details.dialect, "POST"):
                self._admission.check(demand)

    def begin(self, creation: Creation, use: TokenUse) -> tuple[Upload, bool]:
        """The upload that this token has begun, or a new one; and whether it is new."""
        with self._creating:
            begun = self._begun(creation)
            return (self._begin(creation, use), True) if begun is None else (begun, False)

    def _begun(self, creation: Creation) -> Upload | None:
        """The upload this token has begun already: asking twice must not make two."""
        for upload in self._uploads.of_token(creation.claims.jti):
            if upload.kind == creation.kind and creation.is_again(upload):
                if None not in (creation.length, upload.length) and (
                    creation.length != upload.length
                ):
                    raise ProblemError(
                        "token-used", f"this token's upload has {upload.length} bytes: another one"
                    )
                return upload
        return None

    def _check_new(self, creation: Creation, use: TokenUse) -> None:
        self._policy.check_unused(use)
        self._admission.check_idle(creation.claims.jti)
        self._policy.check_health()
        begun = self._uploads.of_token(creation.claims.jti)
        is_first = not begun
        if is_first:
            # Further parts of a file go where its first ones are.
            self._policy.check_state(creation.claims)
        self._policy.check_lifetime(creation.claims)
        self._policy.check_replicas(creation.claims)
        with patience_of(creation.details.dialect, "POST"):
            self._policy.check_rate(creation.claims)
        # Another part lies in the file of those before it.
        inodes = INODES_PER_FILE if is_first else 0
        self._admission.check_space(creation.space, inodes, creation.claim(begun))

    def _begin(self, creation: Creation, use: TokenUse) -> Upload:
        """A new upload. The parts of one file count as one upload of their owner."""
        self._check_new(creation, use)
        if not self._uploads.of_token(creation.claims.jti):
            with patience_of(creation.details.dialect, "POST"):
                self._policy.count_begun(creation.claims)
        with failures_as_problems(self._health, creation.limit):
            return self._staged.begin(creation)


def _is_joining(asked: ResumableRequest) -> bool:
    """Whether a POST ends an upload in parts: nothing new begins, so the deadline counts."""
    return asked.concat.startswith("final;")
