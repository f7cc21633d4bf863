"""Agents whose answers lead back to them, alone and behind nginx."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.agent.process import Agent


class HomingAgent(Agent):
    """An agent that names itself, not its node's host, in the URLs it gives out."""

    def _write_files(self, settings: Mapping[str, Any] | None) -> None:
        super()._write_files({"public_base_url": self.url, **(settings or {})})


@dataclass(frozen=True, slots=True)
class Node:
    """nginx as a node has it, over TLS, and the agent behind it on a unix socket."""

    url: str
    agent: Agent
    ca: Path

    @property
    def uploads(self) -> str:
        """Where resumable uploads are created."""
        return f"{self.url}/api/v1/uploads"
