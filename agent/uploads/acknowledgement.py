"""`ack: replicated`: an upload is answered once another node's receipt for its copy is in.

The worker makes the copy; here its receipt is waited for. The file is stored and stays, whatever
comes of the waiting: a client that asks again gets the answer as soon as the copy is there.
"""

from __future__ import annotations

import time

from agent.cluster.rendezvous import can_be_replicated
from agent.cluster.roster import Rosters
from agent.index.database import Database
from agent.index.search import with_copies
from agent.problems import ProblemError
from agent.settings import Settings
from agent.uploads.admission import Admission, Demand
from agent.uploads.shares import Sender
from portside.wire.claims import UploadClaims
from portside.wire.files import StoredFile

_LOOK_EVERY = 0.05
"""Seconds between two looks at the index: a small file's copy takes about as long."""


class Acknowledgement:
    """What an upload is answered with, and when. Thread-safe."""

    def __init__(
        self, settings: Settings, database: Database, rosters: Rosters, admission: Admission
    ) -> None:
        self._settings = settings
        self._database = database
        self._rosters = rosters
        self._admission = admission

    def check(self, claims: UploadClaims) -> None:
        """Raise ProblemError when no second node could take the copy that the token asks for."""
        if claims.ack == "local" or can_be_replicated(
            claims, self._settings.node_id, self._rosters.current()
        ):
            return
        raise ProblemError(
            "no-replica-node",
            "the token wants a second copy before the answer, and no other node can take one now: "
            "try again, or ask for a token with other 'replicas' or with ack 'local'",
        )

    def wait(self, claims: UploadClaims, stored: StoredFile) -> StoredFile:
        """The file that is stored, told when that may be told; with its copies where they count.

        Raises ProblemError when no receipt came in time.
        """
        if claims.ack == "local":
            return stored
        sender = Sender(claims.jti, claims.sub)
        demand = Demand(f"ack {stored.file_id}", None, 0, kind="waiting", sender=sender)
        with self._admission.admit(demand):
            until = time.monotonic() + self._settings.ack_timeout
            while not (told := with_copies(self._database, stored)).copies:
                if time.monotonic() >= until:
                    raise ProblemError(
                        "not-replicated",
                        f"the file is stored on this node, a second copy is not confirmed within "
                        f"{self._settings.ack_timeout} s: send the same again to be told of it",
                    )
                time.sleep(_LOOK_EVERY)
            return told
