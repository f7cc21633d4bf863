"""What a control plane's database has in it, as `portside-control contents` tells it."""

from __future__ import annotations

from pydantic import Field

from portside.wire.base import Message
from portside.wire.bounds import MOST_NODES, Amount, Label, Moment

NO_DATABASE = 3
"""The exit code of `portside-control contents` where the database is damaged or was never made: of
the failures the only one that says that nothing would be lost with it."""


class DatabaseContents(Message):
    """Figures. `revision` is the schema's, `silent` are nodes that haven't spoken since the
    database was restored, `newest` is when the newest file was stored."""

    revision: Label
    nodes: Amount
    silent: tuple[Label, ...] = Field(max_length=MOST_NODES, fail_fast=True)
    files: Amount
    newest: Moment | None
