"""A file on other nodes: who has a good copy by its own signed word now, and its bytes from there.

For a file whose copy here is damaged. A node is asked as for a push (`agent.replication.sender`):
how far is it with this very file? One that has all of it answers a push of nothing with its
receipt. Its bytes are fetched under the same token, which names id, path, size and digest: who
doesn't know all of these gets nothing.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

from agent.cluster.roster import Rosters
from agent.host.tls import trust
from agent.replication.sender import Errand, Sender, connected, judged
from agent.settings import Settings
from portside.digest import format_repr_digest
from portside.tokens import SigningKey
from portside.wire.files import StoredFile
from portside.wire.heartbeat import RosterNode

PATIENCE = 10.0
"""Seconds for each step of a question: an operator waits for the answer."""

_BLOCK = 1024 * 1024


_MEANT = {409: ": it has something else there", 410: ": the file was deleted there"}
"""Refusals by which a node says that it has no good copy; others say nothing of it."""


class Unfetched(Exception):
    """The bytes didn't come; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node says of a file: its receipt, else why there is none.

    `is_word`: it was reached and has no good copy; otherwise nothing is known.
    """

    node_id: str
    receipt: str | None
    said: str
    is_word: bool = True


class Elsewhere:
    """The other nodes, as this one asks them. Raises TrustError when the cluster's own authority
    can't be read."""

    def __init__(self, settings: Settings, key: SigningKey) -> None:
        self._settings = settings
        self._trusting = trust(settings.ca)
        self._sender = Sender(key, self._trusting)
        self._rosters = Rosters(settings)

    def nodes(self) -> list[RosterNode]:
        """Those that can be asked."""
        return [
            node
            for node in self._rosters.current().nodes
            if node.node_id != self._settings.node_id and node.state != "retired"
        ]

    def ask(self, node: RosterNode, stored: StoredFile, jti: str) -> Answer:
        """Whether this node has a good copy. Never raises what the node or the network causes."""
        try:
            return self._asked(self._errand(node, stored, jti))
        except (OSError, http.client.HTTPException) as error:
            return Answer(node.node_id, None, f"not reached: {error}", is_word=False)

    def _asked(self, errand: Errand) -> Answer:
        node_id, size = errand.target.node_id, errand.stored.size
        with connected(errand.target, self._trusting, PATIENCE) as connection:
            self._sender.begin(connection, "HEAD", errand)
            connection.endheaders()
            answer = connection.getresponse()
            answer.read()
            if answer.status != 204:
                said = f"answered {answer.status}{_MEANT.get(answer.status, '')}"
                return Answer(node_id, None, said, is_word=answer.status in _MEANT)
            if answer.headers.get("Upload-Complete") != "?1":
                return Answer(node_id, None, "has no complete copy")
            # A push of nothing, answered with the receipt.
            self._sender.begin(connection, "PUT", errand)
            connection.putheader("Repr-Digest", format_repr_digest(errand.stored.sha256))
            connection.putheader("Content-Type", "application/octet-stream")
            connection.putheader("Content-Length", "0")
            connection.putheader("Content-Range", f"bytes */{size}")
            connection.endheaders()
            attempt = judged(connection, errand, size, None)
        if attempt.result != "done":
            return Answer(node_id, None, attempt.error, is_word=False)
        return Answer(node_id, attempt.receipt, "has a good copy")

    def fetch(
        self, node: RosterNode, stored: StoredFile, jti: str, take: Callable[[memoryview], None]
    ) -> None:
        """Give `take` the file's bytes from this node, piece by piece. Raises Unfetched and what
        `take` raises. That they are the right ones is the caller's to see."""
        try:
            with connected(node, self._trusting) as connection:
                self._sender.begin(connection, "GET", self._errand(node, stored, jti))
                connection.endheaders()
                answer = connection.getresponse()
                if answer.status != 200:
                    raise Unfetched(f"{node.node_id} answered {answer.status}")
                _take_all(answer, stored.size, take)
        except (OSError, http.client.HTTPException) as error:
            raise Unfetched(f"{node.node_id}: {type(error).__name__}: {error}") from None

    def _errand(self, node: RosterNode, stored: StoredFile, jti: str) -> Errand:
        return Errand(self._settings.uploads / stored.path, stored, jti, node)


def _take_all(
    answer: http.client.HTTPResponse, size: int, take: Callable[[memoryview], None]
) -> None:
    """Raises Unfetched when there is more or less than the file has."""
    buffer = bytearray(_BLOCK)
    view, received = memoryview(buffer), 0
    while count := answer.readinto(view):
        received += count
        if received > size:
            break
        take(view[:count])
    if received != size:
        raise Unfetched(f"{received} bytes came instead of {size}")
