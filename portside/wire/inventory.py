"""How a node and the control plane find out what each believes that the other doesn't know.

A node whose digest differs from the one that a heartbeat's answer brings goes through its files by
id, a page at a time: first the page's digest alone, then its ids, then what is known of those that
the control plane wants. Each message travels under a `heartbeat+jwt` over its body, so that it is
the node's signed word, as a receipt is. Sizes are bytes, times UTC.
"""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, model_validator

from portside.inventory import EMPTY, toggled
from portside.wire.base import Message
from portside.wire.bounds import (
    LARGEST_FILE,
    Amount,
    Label,
    Moment,
    Name,
    Prose,
    SaidPath,
    StoredPath,
)
from portside.wire.fields import (
    AppId,
    ExpiresAt,
    FileId,
    MediaType,
    Namespace,
    Order,
    Owner,
    Sha256,
    Ticket,
    TokenId,
)
from portside.wire.files import HoldNote

MOST_IDS = 2000
"""Files of one page: some 70 KiB with their ids."""

MOST_HELD = 500
"""Files of one message that says all that is known of each: some 300 KiB, with the longest names
a MiB."""

MOST_MISSING = 50_000
"""Files of one answer that a node should have and hasn't: as many as its bytes can be
(agent/heartbeat/client.py)."""


class InventoryPage(Message):
    """The ids of a node's files behind one and up to another, in order."""

    node_id: Label = Field(max_length=64)
    after: FileId | None
    """None is the beginning."""
    last: FileId | None
    """None is the end: no file lies behind."""
    digest: Sha256
    """Over the page's ids: see `portside.inventory`."""
    file_ids: tuple[FileId, ...] | None = Field(default=None, max_length=MOST_IDS, fail_fast=True)
    """None at first: most pages are the same on both sides."""
    deleted: bool = False
    """Whether these are files that were deleted for good here: wanted are those which are believed
    to be alive."""

    @model_validator(mode="after")
    def _in_order(self) -> InventoryPage:
        if self.after is not None and self.last is not None and self.last <= self.after:
            raise ValueError("the page ends before it begins")
        ids = self.file_ids
        if ids is None:
            return self
        if any(second <= first for first, second in pairwise(ids)):
            raise ValueError("the ids are not in rising order, each once")
        if ids and self.after is not None and ids[0] <= self.after:
            raise ValueError(f"{ids[0]} lies before the page's beginning")
        if ids and self.last is not None and ids[-1] > self.last:
            raise ValueError(f"{ids[-1]} lies behind the page's end")
        if toggled(EMPTY, ids) != self.digest:
            raise ValueError("the digest is not of these ids")
        return self


class BelievedFile(Message):
    """A file that a node should have."""

    file_id: FileId
    path: StoredPath


class InventoryAnswer(Message):
    """What the control plane makes of a page; what the ids show only once they were told."""

    same: bool
    wanted: tuple[FileId, ...] = Field(default=(), max_length=MOST_IDS, fail_fast=True)
    """Files here that aren't known to be: tell all of them."""
    missing: tuple[BelievedFile, ...] = Field(default=(), max_length=MOST_MISSING, fail_fast=True)
    """Files that should be here and aren't in the page: look, and tell with a heartbeat."""


class HeldFile(Message):
    """All that a node's own attributes say of a file that it has."""

    file_id: FileId
    jti: TokenId
    namespace: Namespace
    owner: Owner
    app: AppId | None = None
    name: Name = Field(min_length=1, max_length=1024)
    path: SaidPath
    size: Amount = Field(lt=LARGEST_FILE)
    sha256: Sha256
    content_type: MediaType
    committed_at: Moment
    order: Order | None = None
    """Of one that was deleted: see `portside.wire.heartbeat.GoneFile`."""
    deleted_at: Moment | None = None
    proof: Order | None = None
    """What the file came to the node with: `portside.orders.copies`. None by older releases, of
    files from then, and of a token that was too long to be kept."""
    expires_at: ExpiresAt | None = None
    held: bool = False
    hold: HoldNote | None = None
    """Of the last time that it was held or released by request."""


class HeldFiles(Message):
    """Files that were wanted."""

    node_id: Label = Field(max_length=64)
    ticket: Ticket
    """Of the last heartbeat's answer, from before they were looked at: what was told with a later
    heartbeat is newer than this."""
    files: tuple[HeldFile, ...] = Field(max_length=MOST_HELD, fail_fast=True)
    deleted: bool = False
    """Whether they were deleted for good here."""


class NotTaken(Message):
    """A file that wasn't taken over, and why."""

    file_id: FileId
    why: Prose


class HeldFilesAnswer(Message):
    """What became of them."""

    taken: Amount
    """Files whose copy here is known now."""
    not_taken: tuple[NotTaken, ...] = Field(default=(), max_length=MOST_HELD, fail_fast=True)
    outdated: bool = False
    """Nothing was looked at: a heartbeat came in between. They are to be read and told anew."""
