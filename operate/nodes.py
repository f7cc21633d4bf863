"""Commands on nodes by OpenSSH, many nodes side by side: each answers for itself.

A node that is down, shows another host key or cuts the connection is an answer as well, and says
why; the others go on. Ctrl-C ends OpenSSH's processes with this one. What runs on a node then goes
on until it writes to the connection that is gone, so whatever is run here may be run again.
"""

from __future__ import annotations

import queue
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from operate.site import Refused, Site
from portside.operator import host_keys, ssh
from portside.operator.remote import MISTAKES
from portside.operator.ssh import Access

AT_ONCE = 16
"""Connections at a time."""

PATIENCE = 120.0
"""Seconds for a command that only looks."""

_OF_SSH_ITSELF = 255
"""ssh(1): an error of its own, not of the command."""

_OPTIONS = (
    f"ConnectTimeout={host_keys.CONNECT_TIMEOUT}",
    # A node that is gone in the middle is found out in 45 seconds.
    "ServerAliveInterval=15",
    # Side by side nobody could tell whose password is asked for.
    "BatchMode=yes",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """How a command ended on a node. `unreached` says why there was none; then `code` is 255."""

    node_id: str
    code: int
    out: str
    err: str
    unreached: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the command ran and succeeded."""
        return self.unreached is None and self.code == 0

    @property
    def trouble(self) -> str:
        """One line for people: why it isn't ok."""
        if self.unreached is not None:
            return self.unreached
        said = self.err.strip().splitlines() or self.out.strip().splitlines() or ["no word why"]
        return f"{self.node_id}: {said[-1]}"


def ask(
    site: Site,
    node_ids: Sequence[str],
    words: Sequence[str],
    stdin: str = "",
    patience: float | None = PATIENCE,
) -> dict[str, Answer]:
    """Run `words` as root on each of the nodes, all at once; the answers in the same order.

    `patience` is in seconds, None: however long it takes.
    """
    ways, answers = _ways(site, node_ids)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as threads:
        running = {
            node_id: threads.submit(_ask_one, site, node_id, to, words, stdin, patience)
            for node_id, to in ways.items()
        }
        answers |= {node_id: each.result() for node_id, each in running.items()}
    return {node_id: answers[node_id] for node_id in node_ids}


def ask_one(
    site: Site,
    node_id: str,
    words: Sequence[str],
    stdin: str = "",
    patience: float | None = PATIENCE,
) -> str:
    """What `words` print as root on this node. Raises Refused with its last words if they fail."""
    answer = ask(site, [node_id], words, stdin, patience)[node_id]
    if not answer.ok:
        raise Refused(answer.trouble)
    return answer.out


def carry(
    site: Site,
    node_id: str,
    words: Sequence[str],
    *,
    given: BinaryIO | None = None,
    taken: BinaryIO | None = None,
) -> Answer:
    """Run `words` as root on this node with bytes for it, or from it; `Answer.out` is empty.

    However long it takes: a node that is gone is found out. Raises OSError for what can't be read
    or written here; then the command on the node has been cut off.
    """
    ways, answers = _ways(site, [node_id])
    if node_id not in ways:
        return answers[node_id]
    with (
        tempfile.TemporaryFile("w+", errors="replace") as said,
        subprocess.Popen(
            _line(site, ways[node_id], words),
            stdin=given or subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        ) as process,
    ):
        try:
            assert process.stdout is not None  # noqa: S101 (PIPE)
            while piece := process.stdout.read(1 << 20):
                if taken is not None:
                    taken.write(piece)
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        said.seek(0)
        err = said.read()
    return _answer(site, node_id, ways[node_id], code, "", err)


def python(*arguments: str) -> tuple[str, ...]:
    """The words that run a program given on standard input by Debian's own Python."""
    return ("/usr/bin/python3", "-I", "-", *arguments)


def follow(
    site: Site, node_ids: Sequence[str], words: Sequence[str]
) -> Iterator[tuple[str, str | None]]:
    """Run `words` on each node; its lines as they come, and None when a node's have ended.

    Ends when all have. A node that can't be reached says so in a line.
    """
    ways, answers = _ways(site, node_ids)
    lines: queue.SimpleQueue[tuple[str, str | None]] = queue.SimpleQueue()
    for node_id, answer in answers.items():
        yield node_id, answer.trouble
        yield node_id, None
    processes = {
        node_id: subprocess.Popen(
            _line(site, to, words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for node_id, to in ways.items()
    }
    try:
        for node_id, process in processes.items():
            threading.Thread(target=_pass_on, args=(node_id, process, lines), daemon=True).start()
        left = len(processes)
        while left:
            node_id, line = lines.get()
            left -= line is None
            yield node_id, line
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@contextmanager
def channel(site: Site, node_id: str, words: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """`words` running as root on the node, to be talked to. Raises Refused for a node that can't
    be reached."""
    ways, answers = _ways(site, [node_id])
    if node_id in answers:
        raise Refused(answers[node_id].trouble)
    with subprocess.Popen(
        _line(site, ways[node_id], words),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        # Ctrl-C is for whoever talks to it: it says so there before the connection ends.
        start_new_session=True,
    ) as running:
        try:
            yield running
        finally:
            if running.poll() is None and running.stdin is not None:
                running.stdin.close()


def first_line(running: subprocess.Popen[str]) -> str:
    """The first line that a channel says; empty where it ended without."""
    return "" if running.stdout is None else running.stdout.readline().strip()


def ended(site: Site, node_id: str, running: subprocess.Popen[str]) -> Answer:
    """How a channel ended that ended by itself."""
    out, err = running.communicate()
    to = ssh.access(site.cluster, node_id, site.root)
    return _answer(site, node_id, to, running.returncode, out, err)


def _pass_on(
    node_id: str,
    process: subprocess.Popen[str],
    lines: queue.SimpleQueue[tuple[str, str | None]],
) -> None:
    for line in process.stdout or ():
        lines.put((node_id, line.rstrip("\n")))
    lines.put((node_id, None))


def _ways(site: Site, node_ids: Sequence[str]) -> tuple[dict[str, Access], dict[str, Answer]]:
    """How to reach each node whose host key is agreed on, and an answer for each of the others."""
    ways: dict[str, Access] = {}
    answers: dict[str, Answer] = {}
    for node_id in node_ids:
        try:
            ways[node_id] = ssh.access(site.cluster, node_id, site.root)
        except MISTAKES as error:
            answers[node_id] = _unreached(node_id, f"{node_id}: {error}")
    for node_id, line in host_keys.meet(site.cluster, ways, site.keystore).items():
        answers[node_id] = _unreached(node_id, line)
        del ways[node_id]
    return ways, answers


def _ask_one(
    site: Site,
    node_id: str,
    to: Access,
    words: Sequence[str],
    stdin: str,
    patience: float | None,
) -> Answer:
    try:
        done = subprocess.run(
            _line(site, to, words),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _unreached(node_id, f"{node_id}: no answer within {patience:.0f} seconds")
    return _answer(site, node_id, to, done.returncode, done.stdout, done.stderr)


def _answer(site: Site, node_id: str, to: Access, code: int, out: str, err: str) -> Answer:
    if code != _OF_SSH_ITSELF:
        return Answer(node_id, code, out, err)
    other = host_keys.changed(to, node_id, site.keystore)
    said = (err.strip().splitlines() or ["the connection was cut"])[-1]
    return _unreached(node_id, other or f"{node_id}: can't be reached over SSH: {said.strip()}")


def _line(site: Site, to: Access, words: Sequence[str]) -> tuple[str, ...]:
    program, *rest = ssh.command(to, words, site.keystore)
    options = (word for option in _OPTIONS for word in ("-o", option))
    return (program, *options, *rest)


def _unreached(node_id: str, why: str) -> Answer:
    return Answer(node_id, _OF_SSH_ITSELF, "", "", unreached=why)
