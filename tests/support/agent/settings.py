"""An agent's settings for tests that need no agent."""

from __future__ import annotations

from pathlib import Path

from agent.settings import Settings
from portside.quantities import GIB
from portside.sizing import Machine, size


def settings_of(root: Path) -> Settings:
    """Those of a node whose data root is `root`, with its folders made."""
    for folder in ("uploads", "staging", "quarantine", "state"):
        (root / folder).mkdir()
    return Settings(
        node_id="s01",
        public_base_url="https://s01.portside.test",
        root=root,
        keyset=root / "keyset.json",
        node_key=root / "node.key",
        roster=root / "roster.json",
        max_size=1 * GIB,
        extensions=(".bin",),
        private=(),
        uploads_per_minute=600,
        scrub_rate=1 * GIB,
        scrub_every=86400,
        sizing=size(Machine(ram=1 * GIB, cores=1, disk=10 * GIB)),
    )
