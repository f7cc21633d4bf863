"""Whether everybody has been told of the key that is to take the place of the node's.

Other nodes have the deploy's roster by then. The control plane takes it over within seconds and
publishes it with a heartbeat's answer: who has that roster knows that it does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from agent.cluster import roster
from agent.cluster.identity import IdentityError
from agent.settings import Settings

PATIENCE = 90.0
"""Seconds: a round of the control plane's worker and two heartbeats, and as much again."""


def wait(
    settings: Settings,
    kid: str,
    patience: float = PATIENCE,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once the node's key `kid` is known. Raises IdentityError when nobody tells of it."""
    deployed = roster.read(settings.roster)
    if not _has(settings, settings.roster, kid):
        raise IdentityError(f"{settings.roster} doesn't have the key {kid}: deploy the roster")
    if deployed is None or deployed.control_url is None:
        return
    until = time.monotonic() + patience
    while not _has(settings, settings.received_roster, kid):
        if time.monotonic() >= until:
            raise IdentityError(
                f"the control plane has not told of the key {kid} for {patience:.0f} s: do "
                "heartbeats arrive? See `journalctl -u portside-agent-worker`, then try again"
            )
        sleep(1.0)


def _has(settings: Settings, path: Path, kid: str) -> bool:
    found = roster.read(path)
    own = None if found is None else found.find(settings.node_id)
    return own is not None and own.keyset.known(kid) is not None
