"""What is asked before a node goes for good: what is on it, and who else has a good copy of each.

The node itself says what it has (`portside-agent leaving`), by its index and its disk. The control
plane says who else has it: `POST /api/v1/nodes/<id>/leaving`. Of a node that is lost only the
control plane can say what was there: `GET` on the same. Sizes are bytes.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from portside.wire.base import Message, Request
from portside.wire.bounds import MOST_NODES, Amount, Label, Name, Prose, SaidPath
from portside.wire.fields import FileId, NodeId, Sha256

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
