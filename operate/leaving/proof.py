"""Whether anything on a node is nowhere else: the node says what it has, others what they have.

What is on it the node itself says, by its index and its disk, and what it still owes. For each file
the control plane is asked first: it has the other nodes' receipts. What it doesn't vouch for the
node asks the other nodes after. Nobody's silence counts as a yes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from operate import nodes
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.operator.programs import AGENT
from portside.quantities import format_size
from portside.wire.inventory import (
    MOST_ASKED,
    AskedPage,
    FileOnNode,
    LeavingFile,
    LeavingPage,
    LeavingQuestion,
    Owed,
)

_Said = TypeVar("_Said", bound=BaseModel)

SHOWN = 20
"""Files that are named; of more there is the count."""

ASKED_AT_ONCE = 200
"""Files that other nodes are asked after by one command: it takes some seconds."""

PATIENCE = 900.0
"""Seconds for a page: the first one has the node's whole disk in it."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A file that nobody else is known to have, and what was said of it."""

    path: str
    size: int
    sha256: str | None
    file_id: str | None
    why: str

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class Found:
    """What is on a node. Of the files that are nowhere else the first are named."""

    files: int = 0
    bytes: int = 0
    alone: int = 0
    alone_bytes: int = 0
    named: list[Alone] = field(default_factory=list)
    owed: tuple[Owed, ...] = ()
    ended: int = 0
    asked_others: set[str] = field(default_factory=set)
    """Files that another node has vouched for itself."""

    @property
    def may_go(self) -> bool:
        """Whether nothing is lost with the node, and nobody waits for it."""
        return not self.alone and not self.owed

    def lost(self, path: str, size: int, sha256: str | None, file_id: str | None, why: str) -> None:
        """Count a file that is nowhere else."""
        self.alone += 1
        self.alone_bytes += size
        if len(self.named) < SHOWN:
            self.named.append(Alone(path, size, sha256, file_id, why))

    def lines(self, node_id: str) -> Iterator[str]:
        """What stands against letting it go, for people."""
        if self.alone:
            yield f"{node_id}: {files_of(self.alone, self.alone_bytes)} on it are nowhere else:"
        yield from self.named_lines()
        for each in self.owed:
            yield f"{node_id}: {each.count} {each.what}: {each.remedy}"

    def named_lines(self) -> Iterator[str]:
        """The files that are nowhere else."""
        for each in self.named:
            digest = f"SHA-256 {each.sha256}" if each.sha256 else "no digest is known"
            yield f"  {each.path}  {format_size(each.size)}  {digest}: {each.why}"
        if self.alone > len(self.named):
            yield f"  and {self.alone - len(self.named)} more"

    def as_json(self) -> dict[str, object]:
        """For programs."""
        return {
            "files": self.files,
            "bytes": self.bytes,
            "without_other_copies": self.alone,
            "bytes_without_other_copies": self.alone_bytes,
            "named": [each.as_json() for each in self.named],
            "owed": [each.model_dump(mode="json") for each in self.owed],
            "ended": self.ended,
        }


def look(
    site: Site,
    node_id: str,
    control: Control | None,
    tell: Tell,
    vouched: frozenset[str] = frozenset(),
) -> Found:
    """Go through all that is on a node. Changes nothing. Raises one of MISTAKES.

    `vouched` are files that other nodes have vouched for a moment ago: they aren't asked again.
    """
    found = Found()
    after: str | None = None
    while True:
        page = _page(site, node_id, after)
        if after is None:
            found.owed, found.ended = page.owed, page.ended
            uncounted = page.odd - sum(each.kept != "stored" for each in page.files)
            for _ in range(uncounted):
                found.lost("", 0, None, None, "too many such things to name them: see `fsck` there")
        found.files += len(page.files)
        found.bytes += sum(each.size for each in page.files)
        _judge(site, node_id, control, page.files, found, vouched)
        if page.next is None:
            return found
        after = page.next
        tell.line(f"{node_id}: {found.files} files looked at, {found.alone} are nowhere else")


def _page(site: Site, node_id: str, after: str | None) -> LeavingPage:
    words = ("leaving", "--json", *(("--after", after) if after else ()))
    return _said(LeavingPage, _agent(site, node_id, words))


def _judge(
    site: Site,
    node_id: str,
    control: Control | None,
    files: Sequence[LeavingFile],
    found: Found,
    vouched: frozenset[str],
) -> None:
    asked: list[LeavingFile] = []
    for each in files:
        if each.file_id is None or each.sha256 is None:
            found.lost(
                str(each.path), each.size, None, None, "nothing tells what it is: see `fsck` there"
            )
        elif each.file_id not in vouched:
            asked.append(each)
    why = dict.fromkeys((each.file_id for each in asked), "")
    if control is not None and asked:
        asked, why = _unknown_to(control, node_id, asked)
    for start in range(0, len(asked), ASKED_AT_ONCE):
        some = asked[start : start + ASKED_AT_ONCE]
        question = json.dumps([each.model_dump(mode="json") for each in some])
        answer = _said(AskedPage, _agent(site, node_id, ("leaving", "--ask"), question))
        by_id = {each.file_id: each for each in answer.files}
        for each in some:
            said = by_id.get(each.file_id or "")
            if said is not None and said.has and each.file_id is not None:
                found.asked_others.add(each.file_id)
                continue
            words = [why[each.file_id], *(said.said if said is not None else ())]
            found.lost(
                str(each.path),
                each.size,
                each.sha256,
                each.file_id,
                "; ".join(filter(None, words)),
            )


def _unknown_to(
    control: Control, node_id: str, files: Sequence[LeavingFile]
) -> tuple[list[LeavingFile], dict[str | None, str]]:
    """Those for which the control plane knows no other copy, and why by id."""
    question = LeavingQuestion(
        files=tuple(
            FileOnNode(file_id=each.file_id, size=each.size, sha256=each.sha256)
            for each in files
            if each.file_id is not None and each.sha256 is not None
        )
    )
    left: list[LeavingFile] = []
    why: dict[str | None, str] = {}
    for start in range(0, len(question.files), MOST_ASKED):
        some = LeavingQuestion(files=question.files[start : start + MOST_ASKED])
        answer = control.who_else(node_id, some)
        for each, said in zip(files[start : start + MOST_ASKED], answer.files, strict=True):
            if said.file_id != each.file_id:
                raise Refused("the control plane has answered after other files than these")
            if said.wanted and not said.nodes:
                left.append(each)
                why[each.file_id] = said.why
    return left, why


def _agent(site: Site, node_id: str, words: Sequence[str], stdin: str = "") -> str:
    answer = nodes.ask(site, [node_id], (AGENT.on_path, *words), stdin, PATIENCE)[node_id]
    if answer.ok:
        return answer.out
    if answer.unreached is not None:
        raise Refused(
            f"{answer.trouble}: only the node itself can say what is on it; start it and run this "
            f"again, or if it is gone for good: `fab retire {node_id} --lost`"
        )
    if "not found" in answer.err:
        raise Refused(
            f"{node_id}: Portside isn't on it: it was never deployed, or taken off. If its data is "
            f"still there, `fab reinstall {node_id}` brings it back; else take its line out of the "
            "cluster file"
        )
    if "invalid choice: 'leaving'" in answer.err:
        raise Refused(
            f"{node_id}: its agent is of an older release, which can't say what is on it: deploy "
            f"it first (`pyinfra inventory deploys/site.py --limit {node_id} -y`)"
        )
    raise Refused(f"{answer.trouble}: it can't say what is on it; see `fab -H {node_id} logs`")


def _said(kind: type[_Said], text: str) -> _Said:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "its answer"
        raise Refused(f"what the node says can't be read: {where}: {first['msg']}") from None


def files_of(count: int, size: int) -> str:
    """A number of files in words."""
    return f"{count} {'file' if count == 1 else 'files'} ({format_size(size)})"
