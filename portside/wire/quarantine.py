"""What a node tells of the files in its quarantine, and how one of them is settled.

Times are UTC, sizes bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from portside.wire.base import Message, Request
from portside.wire.bounds import MOST_COPIES, Amount, Label, Moment, Name, Prose, Text
from portside.wire.fields import FileId

KEPT_ID_PATTERN = r"^(?:[0-9a-f]{32}|stray-[0-9a-f]{16})$"
"""A file's id, or the name that fsck gave to what it set aside."""

KeptAs = Literal["damaged", "unindexed", "left-over", "set-aside"]
"""`damaged`: taken out of service. `unindexed`: the same, and the index has lost its row.
`left-over`: the file is in service again, and this isn't needed. `set-aside`: by fsck, which found
nobody that it belongs to, or only word of a file that is lost."""

Settlement = Literal["restore", "fetch", "remove"]
"""`restore`: put back, if its bytes are good after all. `fetch`: good bytes come from elsewhere and
are put back. `remove`: this node's copy goes; the file lives on where else it is."""

MOST_LISTED = 500
"""Of what is in quarantine: in one answer."""


class KnownCopy(Message):
    """A good copy on another node, by that node's signed word."""

    node_id: Label
    confirmed_at: Moment


class KeptFile(Message):
    """Something in quarantine: which file it was, why it is here, and what can be done."""

    kept_id: Label = Field(pattern=KEPT_ID_PATTERN)
    kept_as: KeptAs
    file_id: FileId | None
    """None where nothing tells whose it is."""
    namespace: Label | None
    owner: Name | None
    name: Name | None
    path: Text | None
    size: Amount | None
    """Bytes that the file should have."""
    kept_bytes: Amount | None
    """Bytes that are kept; None when there are none, only word of the file."""
    since: Moment | None
    reason: Prose
    copies: tuple[KnownCopy, ...] = Field(default=(), max_length=MOST_COPIES, fail_fast=True)
    backed_up: bool = False
    """Whether its object is in the cold tier, as far as the node knows."""
    ordered: Prose | None = None
    """What became of a `fetch` that was ordered: that it waits, or why it failed."""
    advice: Prose
    """What to do, in words for people."""


class Quarantine(Message):
    """`GET /api/v1/quarantine`: the first MOST_LISTED of `total`, in order of their ids."""

    files: tuple[KeptFile, ...] = Field(max_length=MOST_LISTED, fail_fast=True)
    total: Amount


class SettleRequest(Request):
    """`POST /api/v1/quarantine/<id>`."""

    by: Settlement
    accept_loss: bool = False
    """For `remove`: although no good copy is known to be anywhere else."""


class Settled(Message):
    """What became of it."""

    kept_id: Label
    outcome: Literal["restored", "fetched", "removed", "ordered"]
    """`ordered`: the node's worker fetches it; the list tells how that goes."""
    detail: Prose
