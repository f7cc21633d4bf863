"""`portside-agent leaving`: what would go with this node, and who else has it by their own word.

`fab retire NODE` asks both: the first page by page, and of what the control plane doesn't vouch for
the other nodes, from here, because this node's key proves that it may ask.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from typing import TextIO

from pydantic import ValidationError

from agent.index.database import Database
from agent.integrity import inspection
from agent.integrity.kept import UnknownEntry, one
from agent.integrity.leaving import page
from agent.replication.elsewhere import Elsewhere
from agent.settings import Settings
from agent.storage.attributes import Attributes
from portside.names import ATTRIBUTES_SUFFIX
from portside.quantities import format_size
from portside.tokens import SigningKey
from portside.wire.fields import FILE_ID_PATTERN
from portside.wire.inventory import (
    MOST_ASKED,
    AskedNodes,
    AskedPage,
    LeavingFile,
    LeavingPage,
)

_LONGEST_QUESTION = 4 * 1024 * 1024
"""Characters of standard input that are read: MOST_ASKED files with the longest paths."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.description = (
        "Everything that is on this node by its index and its disk, page by page, and what it has "
        "yet to do for others: what `fab retire NODE` looks at. Nothing is changed."
    )
    parser.add_argument("--json", action="store_true", help="a page as one JSON object")
    parser.add_argument("--after", type=_id, metavar="ID", help="the `next` of the page before")
    parser.add_argument(
        "--limit", type=_limit, default=MOST_ASKED, metavar="N", help="files (default: %(default)s)"
    )
    parser.add_argument(
        "--ask",
        action="store_true",
        help="ask the other nodes which of them have the files that stdin names, as a page of "
        "--json has them; always in JSON",
    )


def run(
    settings: Settings, key: SigningKey | None, arguments: argparse.Namespace, stdin: TextIO
) -> Iterator[str]:
    """What there is to say, line by line; with this node's key of the other nodes.

    Raises ValueError for a question that can't be read, and where there is no index.
    """
    if key is not None:
        yield asked(settings, key, stdin.read(_LONGEST_QUESTION)).model_dump_json()
        return
    found = told(settings, arguments.after, arguments.limit)
    if arguments.json:
        yield found.model_dump_json()
    else:
        yield from in_words(found)


def told(settings: Settings, after: str | None, limit: int) -> LeavingPage:
    """A page of what is here. Raises ValueError where there is no index."""
    database = _opened(settings)
    try:
        return page(settings, database, after, limit)
    finally:
        database.close()


def in_words(found: LeavingPage) -> Iterator[str]:
    """A page for people."""
    for each in found.files:
        digest = each.sha256 or "no digest known"
        yield f"{each.kept}  {format_size(each.size)}  {digest}  {each.path}"
    for owed in found.owed:
        yield f"{owed.count} {owed.what}: {owed.remedy}"
    if found.ended:
        yield f"{found.ended} files whose time is over, kept for their grace"
    if found.next is not None:
        yield f"and more: --after {found.next}"
    elif not found.files:
        yield "no file is on this node"


def asked(settings: Settings, key: SigningKey, question: str) -> AskedPage:
    """Which other nodes have these files, asked now: a JSON list as a page's `files` has it.

    Raises ValueError for what is none, or where there is no index.
    """
    files = _read(question)
    database = _opened(settings)
    try:
        asking = _Asking(settings, database, key)
        return AskedPage(files=tuple(asking.after(each) for each in files if each.file_id))
    finally:
        database.close()


class _Asking:
    def __init__(self, settings: Settings, database: Database, key: SigningKey) -> None:
        self._settings = settings
        self._database = database
        self._elsewhere = Elsewhere(settings, key)
        self._silent: dict[str, str] = {}
        """Nodes that didn't answer once: each further question would wait as long."""

    def after(self, file: LeavingFile) -> AskedNodes:
        assert file.file_id is not None  # noqa: S101 (only such files are asked after)
        known = self._attributes(file)
        if known is None or (known.file_id, known.sha256) != (file.file_id, file.sha256):
            return AskedNodes(file_id=file.file_id, said=("it isn't here any more as it was",))
        said = []
        for node in self._elsewhere.nodes():
            if node.node_id in self._silent:
                said.append(f"{node.node_id}: {self._silent[node.node_id]}")
                continue
            answer = self._elsewhere.ask(node, known.stored(), known.jti)
            if answer.receipt is not None:
                # One is enough; that it is the right file is in the receipt.
                return AskedNodes(file_id=file.file_id, has=(node.node_id,))
            said.append(f"{node.node_id}: {answer.said}")
            if answer.said.startswith("not reached"):
                self._silent[node.node_id] = answer.said
        return AskedNodes(file_id=file.file_id, said=tuple(said) or ("there is no other node",))

    def _attributes(self, file: LeavingFile) -> Attributes | None:
        assert file.file_id is not None  # noqa: S101 (as above)
        if file.kept == "quarantined":
            try:
                return one(self._settings, self._database, file.file_id).attributes
            except UnknownEntry:
                return None
        row = inspection.row_of(self._database, file.file_id)
        if row is not None and row.file_id == file.file_id:
            return row.attributes()
        data = self._settings.uploads / file.path
        found = inspection.attributes_at(data.with_name(data.name + ATTRIBUTES_SUFFIX))
        return found if isinstance(found, Attributes) else None


def _read(question: str) -> list[LeavingFile]:
    try:
        given = json.loads(question)
        if not isinstance(given, list) or len(given) > MOST_ASKED:
            raise ValueError(f"at most {MOST_ASKED} files as a JSON list are asked after")
        return [LeavingFile.model_validate(each) for each in given]
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"what is asked can't be read: {where}: {first['msg']}") from None
    except RecursionError:
        raise ValueError("what is asked can't be read: it is nested too deeply") from None


def _id(text: str) -> str:
    if not re.fullmatch(FILE_ID_PATTERN, text):
        raise argparse.ArgumentTypeError(f"{text!r} is no file's id")
    return text


def _limit(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_ASKED:
        raise argparse.ArgumentTypeError(f"from 1 to {MOST_ASKED}")
    return int(text)


def _opened(settings: Settings) -> Database:
    if not settings.index.exists():
        # To open it would make an empty one, and the next start would take that for the truth.
        raise ValueError(
            f"{settings.index} is gone: `portside-agent reindex` makes it anew from the files"
        )
    return Database(settings.index)
