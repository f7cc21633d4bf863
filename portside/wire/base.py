"""What every message between parts of a cluster has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A model of what travels: as it came, and never changed."""

    model_config = ConfigDict(frozen=True)


class Request(Message):
    """One that people and apps send: what isn't known in it is an error, so that nobody takes a
    typing mistake for something that was heard."""

    model_config = ConfigDict(frozen=True, extra="forbid")
