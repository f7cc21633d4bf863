"""How a change comes to nodes that run: `rollout` of the cluster file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Rollout(BaseModel):
    """The first node is always alone; of the others `batch` take over at once.

    1 is the safest: a bad change that the first node doesn't show meets one node more.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch: int = Field(default=1, ge=1, le=100)
