"""What `--dry` shows of files: the difference to what is there, and nothing of a secret.

A file that not everybody on the node may read, now or then, isn't shown: only that it would change.
"""

from __future__ import annotations

import base64
import difflib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pyinfra.api.facts import FactBase
from pyinfra.context import host

from deploys.hosts import facts
from deploys.runs import request

if TYPE_CHECKING:
    from deploys.operations.files import File

CONTEXT = 2
"""Lines around each change."""

_READABLE = 0o004


class Texts(FactBase[dict[str, str]]):
    """The content of each path that is a file; what isn't UTF-8 in it is replaced."""

    default = dict

    def command(self, paths: Sequence[str]) -> str:
        return (
            f"for p in {facts.quoted(paths)}; do [ -f $p ] && echo $(base64 -w 0 $p) $p; done; true"
        )

    def process(self, output: list[str]) -> dict[str, str]:
        pairs = (line.rpartition(" ")[::2] for line in output)
        return {path: base64.b64decode(text).decode("utf-8", "replace") for text, path in pairs}


def show(changed: Sequence[File], states: dict[str, facts.PathState]) -> None:
    """Log what would become of these files on the host that is being prepared."""
    shown = [
        each.path
        for each in changed
        if each.path in states and not _private(each, states.get(each.path))
    ]
    texts = host.get_fact(Texts, paths=shown) if shown else {}
    for each in changed:
        for line in difference(
            each, states.get(each.path), texts.get(each.path, ""), request.current().full
        ):
            host.log(line)


def difference(file: File, state: facts.PathState | None, before: str, full: bool) -> Iterator[str]:
    """The lines that say what would become of a file; `full`: all of a new one's too."""
    if state is None:
        yield f"{file.path}: new, {file.content.count(chr(10))} lines, {_access(file)}"
    else:
        was = f"{state.owner}:{state.group} {state.mode:o}"
        if was != _access(file):
            yield f"{file.path}: {was} becomes {_access(file)}"
        if state.digest == file.digest:
            return
    if _private(file, state):
        if state is not None:
            yield f"{file.path}: other content, not shown: not everybody may read it"
    elif state is not None or full:
        lines = difflib.unified_diff(
            before.splitlines(),
            file.content.splitlines(),
            file.path if state is not None else "/dev/null",
            file.path,
            n=CONTEXT,
            lineterm="",
        )
        yield from lines


def _private(file: File, state: facts.PathState | None) -> bool:
    return not file.mode & _READABLE or (state is not None and not state.mode & _READABLE)


def _access(file: File) -> str:
    return f"{file.owner} {file.mode:o}"
