"""Who may send this node a copy, and of which file: the token, the roster, the path."""

from __future__ import annotations

from agent.cluster.roster import Rosters
from agent.problems import ProblemError
from agent.replication.request import ReplicateRequest
from agent.storage.layout import is_place
from portside.tokens import TokenRefused, verify_replicate
from portside.web.authorization import bearer
from portside.wire.claims import ReplicateClaims
from portside.wire.keys import Keyset


class Sources:
    """The nodes that may send copies to this one. Thread-safe."""

    def __init__(self, node_id: str, rosters: Rosters) -> None:
        self._node_id = node_id
        self._rosters = rosters

    def claims(self, asked: ReplicateRequest) -> ReplicateClaims:
        """The claims of a request's token, signed by a node of the roster, for this very path.

        Raises ProblemError with the first thing that is wrong.
        """
        token = bearer(asked.authorization)
        if token is None:
            raise ProblemError("token-missing", "send 'Authorization: Bearer <replicate token>'")
        roster = self._rosters.current()
        # A node is known by its keys in the roster and by no other: one that it had before may be
        # a thief's. One that is retired is trusted no more, whoever has its key now.
        nodes = [node for node in roster.nodes if node.state != "retired"]
        known = {node.node_id for node in nodes}
        keys = [key for node in nodes for key in node.keyset.keys if key.owner == node.node_id]
        try:
            claims = verify_replicate(token, Keyset(keys=tuple(keys)), self._node_id)
        except TokenRefused as refused:
            raise ProblemError.from_token(refused) from None
        if claims.iss == self._node_id or claims.iss not in known:
            raise ProblemError("source-unknown", f"{claims.iss!r} is no other node of the cluster")
        path = str(claims.path)
        if not is_place(path) or claims.path.parts[0] != claims.namespace:
            raise ProblemError("path-refused", "the path is none that a node gives to a file")
        if asked.path != path:
            raise ProblemError("path-refused", "the URL's path is not the one the token is for")
        return claims


def check_announced(claims: ReplicateClaims, asked: ReplicateRequest) -> None:
    """Raise ProblemError when a request contradicts its token."""
    size = asked.length if asked.range is None else asked.range.size
    if size != claims.size:
        raise ProblemError("size-mismatch", f"the token is for {claims.size} bytes, not {size}")
    if asked.sha256 not in (None, claims.sha256):
        raise ProblemError("digest-mismatch", "Repr-Digest is not the digest the token names")
