"""Where the benches work and what node they size their agent for."""

from __future__ import annotations

from pathlib import Path

from portside.quantities import GIB
from portside.sizing import Machine

_PROJECT = Path(__file__).resolve().parent.parent

BUILD = _PROJECT / "build" / "bench"
"""Figures as JSON, peers' programs and, unless told otherwise, the scratch files."""

RESULTS = _PROJECT / "bench" / "RESULTS.md"

NODE = Machine(ram=4 * GIB, cores=2, disk=100 * GIB)
"""The agent is sized for such a node whatever this machine is: its memory should mean something."""
