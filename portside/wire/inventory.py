"""How a node and the control plane find out what each believes that the other doesn't know.

A node whose digest differs from the one that a heartbeat's answer brings goes through its files by
id, a page at a time: first the page's digest alone, then its ids, then what is known of those that
the control plane wants. Each message travels under a `heartbeat+jwt` over its body, so that it is
the node's signed word, as a receipt is. Sizes are bytes, times UTC.

Below them is what an operator asks before a node goes for good: what is on it
(`portside-agent leaving` there), and who else has a good copy of each: the control plane by
`POST /api/v1/nodes/<id>/leaving`, other nodes asked from there. Of a node that is lost the control
plane alone can say what there was: `GET` on the same.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from portside.inventory import EMPTY, toggled
from portside.wire.base import Message, Request
from portside.wire.bounds import (
    LARGEST_FILE,
    MOST_NODES,
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
    NodeId,
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


MOST_ASKED = 1000
"""Files of one question or page: some 150 KiB."""

MOST_ODD = 1000
"""Things of a page that no row of the index stands for; a healthy node has none."""

Kept = Literal["stored", "quarantined", "unindexed"]
"""How a node has a file: in service or about to be; kept out of service; on disk alone."""


class LeavingFile(Message):
    """A file on a node. What nothing describes has no id or no digest: nobody can vouch for it."""

    kept: Kept
    path: SaidPath
    """Below the node's `uploads/`; of what is in quarantine where it was, or under which name it is
    kept."""
    size: Amount
    file_id: FileId | None = None
    sha256: Sha256 | None = None


class Owed(Message):
    """Something that a node has yet to do for others: how often, and what an operator can do."""

    what: Prose
    count: Amount
    remedy: Prose


class LeavingPage(Message):
    """What would go with a node: files by id, and with the first page all that isn't a row."""

    node_id: Label
    files: tuple[LeavingFile, ...] = Field(max_length=MOST_ASKED + MOST_ODD, fail_fast=True)
    odd: Amount = 0
    """With the first page: how many things there are without a row. More than `files` has room for
    are counted here alone."""
    owed: tuple[Owed, ...] = Field(default=(), max_length=64, fail_fast=True)
    stored: Amount = 0
    """With the first page: files in service."""
    ended: Amount = 0
    """Files whose time is over, kept for their grace: they need no other copy."""
    next: FileId | None = None
    """What the next page begins behind; None: this was the last."""


class AskedNodes(Message):
    """Who has a good copy of a file by its own signed word, asked now, and what the others say."""

    file_id: FileId
    has: tuple[Label, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)
    said: tuple[Prose, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)


class AskedPage(Message):
    """The answers for the files that were asked after."""

    files: tuple[AskedNodes, ...] = Field(max_length=MOST_ASKED, fail_fast=True)


class FileOnNode(Message):
    """A file as a node has it."""

    file_id: FileId
    size: Amount
    sha256: Sha256


class LeavingQuestion(Request):
    """Who else has these files: `POST /api/v1/nodes/<id>/leaving`."""

    files: tuple[FileOnNode, ...] = Field(
        max_length=MOST_ASKED,
        fail_fast=True,
        description=f"What is on the node, at most {MOST_ASKED} files.",
    )


class OtherCopies(Message):
    """Nodes that have a good copy of a file and can be reached; `why` there is none."""

    file_id: FileId
    nodes: tuple[Label, ...] = Field(default=(), max_length=MOST_NODES, fail_fast=True)
    why: Prose = ""
    wanted: bool = True
    """False for a file that was deleted: nobody needs another copy."""


class LeavingAnswer(Message):
    """The files that were asked after, in the same order."""

    files: tuple[OtherCopies, ...] = Field(max_length=MOST_ASKED, fail_fast=True)


class OnlyCopiesQuery(Request):
    """A page of `GET /api/v1/nodes/<id>/leaving`."""

    after: FileId | None = Field(default=None, description="The `next` of the page before.")
    limit: int = Field(
        default=MOST_ASKED, ge=1, le=MOST_ASKED, description="Files to look at for one page."
    )


class OnlyCopy(Message):
    """A file of which no other good copy is known."""

    file_id: FileId
    path: SaidPath
    size: Amount
    sha256: Sha256
    owner: Name


class OnlyCopies(Message):
    """Of the files that a node should have, those that no other node has a good copy of."""

    node_id: NodeId
    files: tuple[OnlyCopy, ...] = Field(max_length=MOST_ASKED, fail_fast=True)
    looked_at: Amount
    """Files of this page, those with other copies among them."""
    next: FileId | None
