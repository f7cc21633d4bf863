"""A Portside node to crash: its agent, what was tried on it, and every check after a restart."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from random import Random
from threading import Event

from faults.causing.attempts import Attempts
from faults.causing.client import Client, OffsetForgotten
from faults.causing.connection import Connection, NodeGone
from faults.causing.crashes import StartFailed
from faults.causing.tus import Refused
from faults.causing.workload import Writer
from faults.checking.checks import Shelf
from faults.checking.content import Contents
from faults.checking.figures import Figures
from faults.checking.journal import Attempt, Journal
from tests.support.agent.process import Agent

_START_SECONDS = 60.0
_MOST_WAITING = 6
"""Uploads that stay open over a check, to be cut again; more of them are taken to their end."""

_PAUSE = 0.01
"""Seconds that a writer waits after its node went away."""


class PortsideNode:
    """See crashes.Store. `under`: a command that the agent is started by, as env(1)."""

    name = "portside"

    def __init__(
        self, home: Path, root: Path, contents: Contents, random: Random, under: Sequence[str] = ()
    ) -> None:
        self.figures = Figures()
        self.tolerant = False
        """Refusals under load are what an injection makes: counted and not complained about."""
        self._home = home
        self._root = root
        self._contents = contents
        self._random = random
        self._under = list(under)
        self._lives = 0
        self._counting = threading.Lock()

    def lay_out(self) -> None:
        """A fresh node on an empty disk."""
        self._lives += 1
        home = self._home / f"node-{self._lives}"
        home.mkdir()
        self.agent = Agent(home, root=self._root, settings={"uploads_per_minute": 1_000_000})
        self._attempts = Attempts(self._contents, self._random)
        self._journal = Journal()
        self._shelf = Shelf(self._root)

    def start(self, under: Sequence[str] = ()) -> float:
        """Start the agent; the seconds until it answers. Raises StartFailed."""
        started = time.monotonic()
        self.agent.launch(under=[*self._under, *under])
        while time.monotonic() - started < _START_SECONDS:
            if self.agent.process.poll() is not None:
                break
            try:
                with Connection(self.agent.port) as connection:
                    if connection.ask("GET", "/health/live").status == HTTPStatus.NO_CONTENT:
                        return time.monotonic() - started
            except NodeGone:
                time.sleep(_PAUSE / 2)
        raise StartFailed(f"the agent doesn't start:\n{self.agent.log.read_text()[-3000:]}")

    def freeze(self) -> None:
        """Stop every process of it where it is: after a power cut nobody answers any more."""
        os.killpg(self.agent.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """SIGKILL to all its processes at once."""
        if self._lives:
            self.agent.kill()

    def writers(self, count: int) -> list[Writer]:
        """Clients that upload at the same time, each in its own way."""
        return [self._writer(Random(self._random.random())) for _ in range(count)]  # noqa: S311

    def _writer(self, random: Random) -> Writer:
        def write(stop: Event) -> None:
            with self._client(random) as client:
                while not stop.is_set():
                    self._turn(client, random, stop)

        return write

    def _turn(self, client: Client, random: Random, stop: Event) -> None:
        """What a client does next: it goes on with a cut upload, or begins another one."""
        attempt = self._journal.adopt() or self._new_attempt()
        try:
            self._advance(client, attempt)
        except NodeGone:
            self._journal.interrupt(attempt)
            stop.wait(_PAUSE)
        except Refused as refused:
            self._refused(attempt, refused, after=stop.is_set())
            stop.wait(_PAUSE)
        except OffsetForgotten as error:
            self._complain("forgotten", str(error))

    def check(self) -> None:
        """After a restart: what was told and acknowledged is there; most goes on to its end."""
        with self._client(self._random) as client:
            for attempt in self._journal.waiting():
                if not self._offsets_hold(client, attempt):
                    self._journal.drop(attempt)
            self._shelf.check(self._journal, self.figures)
            # Some stay open, to be cut more than once; at times nothing does.
            most = self._random.choice((0, _MOST_WAITING, _MOST_WAITING))
            self._finish(client, most)
        if not most:
            self._shelf.check_staging(self.figures)

    def settle(self) -> None:
        """Take every upload to its end, then compare every file once more; nothing is left over."""
        with self._client(self._random) as client:
            self._finish(client, most=0)
        self._shelf.forget()
        self._shelf.check(self._journal, self.figures)
        self._shelf.check_staging(self.figures)

    def _offsets_hold(self, client: Client, attempt: Attempt) -> bool:
        self.figures.told += attempt.offsets_told
        try:
            client.check_offsets(attempt)
        except OffsetForgotten as error:
            self._complain("forgotten", f"{attempt.way} {attempt.claims.file_id}: {error}")
            return False
        return True

    def _finish(self, client: Client, most: int) -> None:
        """Take waiting uploads to their end until at most `most` wait."""
        while len(self._journal.waiting()) > most:
            attempt = self._journal.adopt()
            assert attempt is not None  # noqa: S101 (nobody else takes any)
            if not attempt.resumable and self._random.random() < 0.5:
                # A client that never comes back; others send the same again.
                continue
            try:
                self._advance(client, attempt)
            except (NodeGone, Refused, OffsetForgotten) as error:
                self._complain("stuck", f"{attempt.way} {attempt.claims.file_id}: {error}")

    def _new_attempt(self) -> Attempt:
        with self._counting:
            attempt = self._attempts.next(self.agent)
        self._journal.begin(attempt)
        return attempt

    def _advance(self, client: Client, attempt: Attempt) -> None:
        client.advance(attempt)
        with self._counting:
            self.figures.acknowledge(attempt.content.size)
            self.figures.resumed += attempt.resumable and attempt.cuts > 0

    def _refused(self, attempt: Attempt, refused: Refused, after: bool) -> None:
        """An answer that isn't success. `after` the crash began everything may fail."""
        if self.tolerant or after:
            with self._counting:
                self.figures.explained[refused.status] += 1
            self._journal.interrupt(attempt)
        else:
            self._complain("refused", f"{attempt.way}: {refused}")

    def _complain(self, promise: str, words: str) -> None:
        with self._counting:
            self.figures.complain(promise, words)

    @contextmanager
    def _client(self, random: Random) -> Iterator[Client]:
        with Connection(self.agent.port) as connection:
            yield Client(connection, self.agent.node_keys, random)
