"""How far a drain is, in words: what `portside nodes` and `fab drain` say, also until its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from portside.client.control import Control
from portside.commands.common import ago
from portside.quantities import format_duration, format_size
from portside.wire.control import DrainProgress, NodeView

POLL_SECONDS = 5.0
"""Between two looks at a drain that is watched: nodes report as often while they have work."""


def in_short(drain: DrainProgress) -> str:
    """One line."""
    if drain.drained:
        return "drained: may be retired"
    left = f"{drain.files_left} files ({format_size(drain.bytes_left)}) left"
    gone = f"{drain.files_gone} gone"
    stuck = ", blocked" if drain.blocked and not drain.copying else ""
    return f"draining: {left}, {gone}{stuck}"


def lines(node_id: str, drain: DrainProgress) -> Iterator[str]:
    """Everything that there is to say."""
    if drain.drained:
        gone = (
            f"{drain.files_gone} files ({format_size(drain.bytes_gone)}) went since {_since(drain)}"
        )
        yield f"drained: may be retired: `fab retire {node_id}`; {gone}"
        return
    yield (
        f"draining since {_since(drain)}: {drain.files_left} files "
        f"({format_size(drain.bytes_left)}) left, {drain.files_gone} "
        f"({format_size(drain.bytes_gone)}) gone, {drain.copying} copies on their way"
    )
    if drain.bytes_per_second is not None and drain.seconds_left is not None:
        yield (
            f"{format_size(drain.bytes_per_second)} a second: about "
            f"{format_duration(drain.seconds_left)} to go"
        )
    for each in drain.blocked:
        yield f"blocked: {each}"
    for each in drain.not_yet:
        yield f"can't be retired yet: {each}"


def _since(drain: DrainProgress) -> str:
    return f"{drain.since:%Y-%m-%dT%H:%M:%SZ} ({ago(drain.since)})"


def watch(control: Control, node_id: str, say: Callable[[str], None]) -> NodeView:
    """Say how the drain goes whenever that changes, until the node is drained or drains no more."""
    told: list[str] = []
    while True:
        view = control.node(node_id)
        now = [] if view.drain is None else list(lines(node_id, view.drain))
        # The first line has the time in it.
        if [_timeless(each) for each in now] != [_timeless(each) for each in told]:
            for each in now:
                say(each)
            told = now
        if view.drain is None or view.drain.drained:
            return view
        time.sleep(POLL_SECONDS)


def _timeless(line: str) -> str:
    before, _, after = line.partition(" ago)")
    return before.rpartition("(")[0] + after if after else line
