"""What every peer has in common: one program over a disk, its clients, what it said to them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from threading import Event

from faults.causing.connection import Connection, NodeGone
from faults.causing.crashes import StartFailed
from faults.causing.tus import Refused
from faults.causing.workload import Writer
from faults.checking.content import Content, Contents
from faults.checking.figures import Figures

_START_SECONDS = 60.0
_POLL_SECONDS = 0.01


@dataclass
class Sent:
    """One file that was sent, and what its server said of it."""

    target: str
    content: Content
    told: int = 0
    acknowledged: bool = False
    checked: bool = False
    reported: bool = False


class Peer(ABC):
    """See faults.causing.crashes.Store. What a subclass adds is its program and its protocol."""

    name: str
    setup: str
    """How it is set up, for the record."""

    def __init__(
        self, home: Path, root: Path, contents: Contents, random: Random, cache: Path
    ) -> None:
        self.figures = Figures()
        self.cache = cache
        self.home = home / self.name
        self.home.mkdir()
        self.root = root
        self._contents = contents
        self.random = random
        self.lock = threading.Lock()
        self._sent: list[Sent] = []
        self._process: subprocess.Popen[bytes] | None = None

    def lay_out(self) -> None:
        """An empty store on an empty disk."""
        self._sent = []
        self._fresh = True

    def start(self) -> float:
        """Start its program; the seconds until it takes files. Raises StartFailed."""
        log = self.home / "log"
        started = time.monotonic()
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.root,
                env={**os.environ, "HOME": str(self.root)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        while time.monotonic() - started < _START_SECONDS and self._process.poll() is None:
            if self.ready():
                seconds = time.monotonic() - started
                self._settle_in()
                return seconds
            time.sleep(_POLL_SECONDS)
        tail = log.read_text(encoding="utf-8", errors="replace")[-1000:]
        raise StartFailed(f"{self.name} doesn't start: {tail}")

    def _settle_in(self) -> None:
        """What the first start lays out is on disk long before: only files are at stake."""
        if self._fresh:
            subprocess.run(["sync", "--file-system", str(self.root)], check=True)
            self._fresh = False

    def freeze(self) -> None:
        """Stop it where it is."""
        self._signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, number)

    def writers(self, count: int) -> Sequence[Writer]:
        """Clients that upload at the same time."""
        return [self._write] * count

    def _write(self, stop: Event) -> None:
        with self.connection() as connection:
            while not stop.is_set():
                with self.lock:
                    content = self._contents.next()
                try:
                    self.send(connection, content)
                except NodeGone:
                    stop.wait(_POLL_SECONDS)
                except Refused as refused:
                    if not stop.is_set():
                        with self.lock:
                            self.figures.complain("refused", str(refused))

    def begin(self, target: str, content: Content) -> Sent:
        sent = Sent(target, content)
        with self.lock:
            self._sent.append(sent)
        return sent

    def acknowledged(self, sent: Sent) -> None:
        with self.lock:
            sent.acknowledged = True
            self.figures.acknowledge(sent.content.size)

    def report(self, sent: Sent, promise: str, words: str) -> None:
        """Count what broke of a file, once however often it is looked at."""
        if not sent.reported:
            sent.reported = True
            self.figures.complain(promise, f"{sent.target}, {sent.content.size} bytes: {words}")

    def check(self) -> None:
        """Compare everything that wasn't compared yet."""
        with self.connection() as connection:
            for sent in self._sent:
                if not sent.checked:
                    self.compare(connection, sent)
                    sent.checked = True

    def settle(self) -> None:
        """Compare everything once more."""
        with self.connection() as connection:
            for sent in self._sent:
                if sent.acknowledged:
                    self.compare(connection, sent)

    @abstractmethod
    def version(self) -> str:
        """What is crashed, for the record."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program's command line. What the last one left outside of the disk is removed."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it takes files."""

    @abstractmethod
    def connection(self) -> Connection:
        """To where it takes them."""

    @abstractmethod
    def send(self, connection: Connection, content: Content) -> None:
        """Upload one file, and write down what is said. Raises NodeGone, Refused."""

    @abstractmethod
    def compare(self, connection: Connection, sent: Sent) -> None:
        """Report a file that isn't what was said of it."""
