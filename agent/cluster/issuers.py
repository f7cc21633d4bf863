"""Whose tokens count here: the issuers' public keys, as the keyset on disk has them right now.

A rotation adds the next key to the file and later ends the one before; no restart is in it.
"""

from __future__ import annotations

from pathlib import Path

from agent.cluster.roster import Rosters
from agent.settings import Settings
from portside.keyring.followed_file import FollowedFile
from portside.wire.heartbeat import Roster
from portside.wire.keys import Keyset


class Issuers:
    """The keys that may sign uploads, downloads and access. Thread-safe."""

    def __init__(self, settings: Settings, rosters: Rosters) -> None:
        """Raises OSError or ValueError without a keyset that can be used."""
        self._node_id = settings.node_id
        self._rosters = rosters
        self._file = FollowedFile(settings.keyset, read)
        self._made: tuple[Keyset, Roster, Keyset] | None = None

    def current(self) -> Keyset:
        """The issuers' keys. A keyset may have nodes' keys beside them: those sign none of it."""
        keyset, roster, made = self._file.current(), self._rosters.current(), self._made
        if made is None or made[0] is not keyset or made[1] is not roster:
            nodes = {self._node_id, *(node.node_id for node in roster.nodes)}
            self._made = made = keyset, roster, keyset.without(nodes)
        return made[2]


def read(path: Path) -> Keyset:
    """A keyset's file. Raises OSError, and ValueError for what is no keyset."""
    return Keyset.model_validate_json(path.read_bytes())
