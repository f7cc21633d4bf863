"""Whether a copy was ordered, and is one that an upload could have been.

A source's key says who sends a copy; that it is wanted here is for an issuer to say. Else whoever
has one node lays files on all others. What is on this node already needs no order: its bytes are
compared or repaired, and nothing new comes of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.cluster.roster import Rosters
from agent.problems import ProblemError
from agent.replication.request import ReplicateRequest
from agent.settings import Settings
from agent.storage.sniffing import HEAD_SIZE
from agent.storage.sniffing import check as check_content
from agent.storage.staging import StagingFile
from agent.uploads.policy import too_large
from portside.cluster.lifetimes import end_of
from portside.content import SCRIPT_EXTENSIONS, extension_of, is_allowed, why_refused
from portside.orders.copies import HEADER, Proof, verify_proof
from portside.tokens import TokenRefused
from portside.wire.claims import AdoptionClaims, CopyOrderClaims, ReplicateClaims, UploadClaims
from portside.wire.heartbeat import Roster
from portside.wire.keys import Keyset


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a copy is kept here, whatever its sender says: `expires_at` in Unix seconds.

    `scan`: the copy is held for this node's scanner, and by nobody else.
    """

    held: bool
    expires_at: int | None
    scan: bool = False


class CopyOrders:
    """The issuers' word on copies that come to one node. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        issuers: Callable[[], Keyset],
        rosters: Rosters,
        refuse: Callable[[str], None],
    ) -> None:
        """`refuse` raises ProblemError for the id of a token that was revoked."""
        self._settings = settings
        self._issuers = issuers
        self._rosters = rosters
        self._refuse = refuse

    def check(self, claims: ReplicateClaims, asked: ReplicateRequest) -> Terms:
        """The terms of a copy that an issuer has ordered. Raises ProblemError for another one, and
        where its name may not be taken.
        """
        if not asked.proof:
            raise ProblemError(
                "order-missing",
                f"send with {HEADER} what this file was uploaded with or the control plane's "
                "order: a node's own word brings no new file here; a source of an older release "
                "is to be upgraded",
            )
        roster = self._rosters.current()
        try:
            proof = verify_proof(asked.proof, self._issuers(), claims)
        except TokenRefused as refused:
            raise ProblemError("order-refused", f"what {HEADER} says: {refused}") from None
        if isinstance(proof, AdoptionClaims):
            self._must_count(proof)
        if not isinstance(proof, CopyOrderClaims):
            self._check_target(proof, roster)
            if claims.size > self._settings.max_size:
                raise too_large(claims.size, self._settings.max_size)
        self._check_extension(claims.name, proof)
        return self._terms(claims, proof, roster)

    def _terms(self, claims: ReplicateClaims, proof: Proof, roster: Roster) -> Terms:
        """A sender may keep a file from people, not publish it or end it.

        The control plane's order says it all; one of a release before says nothing of it. Behind
        an upload's token there is what the token and this node's namespaces ask for, until the
        control plane has the copy's receipt and says what has changed since. Without a control
        plane only the sender knows what was released or shortened.
        """
        if isinstance(proof, CopyOrderClaims) and proof.held is not None:
            held = proof.held or bool(claims.held)
            scan = proof.scan if proof.held else claims.scan
            return Terms(held, proof.expires_at, scan=held and scan)
        by_namespace = claims.namespace in self._settings.held
        if isinstance(proof, CopyOrderClaims) or roster.control_url is None:
            held = by_namespace if claims.held is None else claims.held
            return Terms(held, claims.expires_at, scan=bool(claims.held) and claims.scan)
        assert isinstance(proof, UploadClaims)  # noqa: S101 (_check_target lets no other pass)
        held = bool(claims.held) or proof.hold or by_namespace
        lifetime = self._settings.lifetimes.of(claims.namespace, proof.expires_in)
        ends = _later(claims.expires_at, end_of(claims.committed_at, lifetime))
        return Terms(held, ends, scan=held and claims.scan and not proof.hold)

    def _check_target(self, proof: Proof, roster: Roster) -> None:
        """An upload's token names its copies' nodes, or leaves it to nodes that no control plane
        orders, as an adoption's order always does.

        Which of them it is isn't worked out again: two nodes' rosters may differ for a while.
        """
        named = proof.replicas if isinstance(proof, UploadClaims) else ()
        by_nodes = roster.control_url is None and not named
        if by_nodes or self._settings.node_id in named:
            return
        if isinstance(proof, AdoptionClaims):
            raise ProblemError(
                "order-refused",
                "an order for adoption brings no copies where a control plane orders them",
            )
        raise ProblemError("order-refused", "the upload's token names other nodes for its copies")

    def _must_count(self, order: AdoptionClaims) -> None:
        """When a file was adopted is its node's word: a stolen one would say so for ever."""
        try:
            self._refuse(order.jti)
        except ProblemError:
            raise ProblemError(
                "order-refused", "the order by which the file was adopted is revoked"
            ) from None

    def _check_extension(self, name: str, proof: Proof) -> None:
        """What the control plane orders may have come under an older list: it is kept, unless a
        browser may run it."""
        extension, allowed = extension_of(name), self._settings.extensions
        is_kept = isinstance(proof, CopyOrderClaims) and extension not in SCRIPT_EXTENSIONS
        if not is_kept and not is_allowed(extension, allowed):
            raise ProblemError("type-refused", why_refused(extension, allowed))


def _later(one: int | None, other: int | None) -> int | None:
    """None is: never."""
    return None if one is None or other is None else max(one, other)


def check_beginning(claims: ReplicateClaims, staging: StagingFile) -> None:
    """Compare a copy's first bytes on disk with its name, however they came. Raises
    ContentRefused."""
    with staging.path.open("rb") as file:
        check_content(claims.name, file.read(min(staging.size, HEAD_SIZE)))
