"""`fab logs`: what nodes' own services and nginx said, and go on saying."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from operate import nodes
from operate.look import services
from operate.site import Refused, Site
from operate.tell import Tell

NGINX = "/var/log/nginx/error.log"

MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines: `lines` of each log at most, `since` in journalctl's words, `grep` an extended
    regular expression (grep(1)), `follow` until Ctrl-C."""

    lines: int = 50
    since: str = ""
    grep: str = ""
    follow: bool = False

    def check(self) -> None:
        """Raises Refused with what is wrong."""
        if not 0 < self.lines <= MOST_LINES:
            raise Refused(f"--lines {self.lines}: from 1 to {MOST_LINES}")
        for name, text in (("since", self.since), ("grep", self.grep)):
            if not text.isprintable():
                raise Refused(f"--{name}: has characters that can't be printed")


def logs(site: Site, node_ids: Sequence[str], wanted: Wanted, tell: Tell) -> bool:
    """Tell each node's log lines; whether all nodes were reached."""
    wanted.check()
    if wanted.follow:
        return _follow(site, node_ids, wanted, tell)
    reached = True
    for node_id in node_ids:
        # Each node has its own services, and its lines stay together.
        answer = nodes.ask(site, [node_id], _words(site, node_id, wanted))[node_id]
        tell.line(f"== {node_id}")
        for line in answer.out.splitlines():
            tell.line(line)
        for line in answer.err.splitlines():
            # journalctl's own word on a time that it can't read, say: grep's code hides that.
            tell.warn(f"{node_id}: {line}")
        if not answer.ok:
            tell.warn(answer.trouble)
            reached = False
        tell.result({"node_id": node_id, "lines": answer.out.splitlines(), "reached": answer.ok})
    return reached


def _follow(site: Site, node_ids: Sequence[str], wanted: Wanted, tell: Tell) -> bool:
    words = _words(site, node_ids[0], wanted, tuple(_every_service(site, node_ids)))
    width = max(map(len, node_ids))
    for node_id, line in nodes.follow(site, node_ids, words):
        if line is None:
            tell.warn(f"{node_id}: its log has ended")
        else:
            tell.line(f"{node_id:{width}} {line}")
            tell.result({"node_id": node_id, "line": line})
    # Nobody asked for an end: every connection was cut.
    return False


def _every_service(site: Site, node_ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for each in node_ids for name in services(site, each)))


def _words(
    site: Site, node_id: str, wanted: Wanted, units: tuple[str, ...] = ()
) -> tuple[str, ...]:
    names = units or services(site, node_id)
    journal = ["journalctl", "--no-pager", f"--lines={wanted.lines}"]
    journal += [f"--since={wanted.since}"] if wanted.since else []
    journal += [f"--unit={name}" for name in names]
    tail = ["tail", f"--lines={wanted.lines}", "--quiet"]
    if wanted.follow:
        journal, tail = [*journal, "--follow"], [*tail, "--follow=name", "--retry"]
    # nginx writes its own file, whose lines have no journal's time: `--since` is the journal's.
    one, other = shlex.join(journal), shlex.join([*tail, NGINX])
    if wanted.follow:
        both = f"{{ {one} & {other} & wait; }}"
    else:
        both = one if wanted.since else f"{{ {one}; {other}; }}"
    if wanted.grep:
        buffered = "--line-buffered " if wanted.follow else ""
        # That no line fits is an answer as well.
        both += f" | {{ grep {buffered}--extended-regexp --regexp={shlex.quote(wanted.grep)}"
        both += " || [ $? = 1 ]; }"
    return ("sh", "-c", both)
