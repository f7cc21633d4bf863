"""What travels between operators and the control plane about moves of files between nodes.

Times are UTC; sizes are bytes, durations seconds.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from portside.wire.base import Message, Request
from portside.wire.bounds import MOST_LISTED, Label, Moment, Name, Prose, Whole, number
from portside.wire.fields import FileId, PoolId
from portside.wire.spellings import (
    AnyDuration,
    AnyNamespace,
    AnyOwner,
    ExactBytes,
    MostBytes,
)

MoveState = Literal["planned", "running", "paused", "cancelled", "done"]


class MoveRequest(Request):
    """Files that are to go elsewhere: `POST /api/v1/moves`.

    A `move` takes what the filter fits from pool `source` to pool `target`. A `rebalance` takes
    files from the fullest nodes to those that placement chooses, until each is within half of
    `band` of the mean.
    """

    kind: Literal["move", "rebalance"] = "move"
    source: PoolId | None = Field(default=None, description="The id of the pool they leave.")
    target: PoolId | None = Field(default=None, description="The id of the pool they go to.")
    namespace: AnyNamespace | None = Field(default=None, description="The one they are in.")
    owner: AnyOwner | None = Field(default=None, description="Whose they are.")
    older_than: AnyDuration | None = None
    """Seconds since the file was committed."""
    min_size: ExactBytes | None = None
    bytes_per_second: MostBytes | None = None
    """All pushes of the move together; None is as fast as the nodes are."""
    hours: Annotated[Label, Field(max_length=11)] | None = None
    """The part of the day (UTC) in which copies are ordered: `22:00-06:00`."""
    band: Annotated[float, Field(ge=0.01, le=1, allow_inf_nan=False), BeforeValidator(number)] = 0.1
    """For a rebalance: how far apart the nodes' used shares may be, from 0 to 1."""
    dry_run: bool = False

    @model_validator(mode="after")
    def _complete(self) -> MoveRequest:
        named = (self.source is not None, self.target is not None)
        if self.kind == "move" and named != (True, True):
            raise ValueError("a move needs a 'source' and a 'target'")
        if self.kind == "rebalance" and named != (False, False):
            raise ValueError("a rebalance finds 'source' and 'target' by itself: leave them out")
        return self


class MovePlan(Message):
    """What a move would do, as of now: the answer to a dry run and part of each move's view."""

    files: Whole
    bytes: Whole
    already_there: Whole
    """Of `files`: the target has them, so that only the reference switches."""
    conflicts: Whole
    """Of `files`: the target has another file on the same path, so that they are skipped."""
    target_free: Whole | None
    """Bytes that the target can take; None where placement chooses."""
    fits: bool
    reachable: bool
    """Whether source and target were heard of lately."""
    obstacles: tuple[Prose, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    """What speaks against starting now, in words for people; empty when nothing does."""


class MoveProgress(Message):
    """How far a move is. Each file is in one of `waiting`, `done`, `failed`, `skipped` at the end.

    `planned` is what was there at the start: files that come or go meanwhile make the difference.
    """

    planned: Whole
    planned_bytes: Whole
    copying: Whole
    waiting: Whole
    """Copied, but the source's copy stays until enough other good ones are there."""
    done: Whole
    done_bytes: Whole
    failed: Whole
    failed_bytes: Whole
    skipped: Whole
    skipped_bytes: Whole


class MoveReport(Message):
    """A file that a move didn't move, and why."""

    file_id: FileId
    outcome: Literal["failed", "skipped", "waiting"]
    detail: Prose


class MoveView(Message):
    """A move as it stands. `reports` are the first hundred; `note` says why nothing happens now."""

    move_id: Label
    kind: Literal["move", "rebalance"]
    state: MoveState
    source: Label | None
    target: Label | None
    namespace: Label | None
    owner: Name | None
    older_than: Whole | None
    min_size: Whole | None
    bytes_per_second: Whole | None
    hours: Label | None
    progress: MoveProgress
    note: Prose | None
    rate: Whole | None = None
    """Bytes a second that were moved since its start; None before anything was."""
    seconds_left: Whole | None = None
    """At that rate, while it runs."""
    reports: tuple[MoveReport, ...] = Field(default=(), max_length=MOST_LISTED, fail_fast=True)
    created_at: Moment
    started_at: Moment | None
    ended_at: Moment | None


class MoveViews(Message):
    """Every move, newest first."""

    moves: tuple[MoveView, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
