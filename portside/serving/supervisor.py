"""The process that a unit runs: it starts generations, watches them, and does as decided.

It takes SIGHUP for a reload, SIGTERM for a stop that waits for all, and HANDOVER for an end that
leaves every generation as it is, for the next supervisor to take over from.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from portside.serving import status
from portside.serving.listening import forget, listening_socket, notify
from portside.serving.registry import Registry
from portside.serving.status import Status
from portside.serving.succession import (
    Action,
    Drain,
    HandBack,
    Kill,
    Leave,
    Start,
    Succession,
)

HANDOVER = signal.SIGUSR1
"""What the unit has as `RestartKillSignal=`."""

OVERDUE = 900.0
"""Seconds in which a generation must come to serve: recovery reads what a crash left behind."""

READY_VARIABLE = "PORTSIDE_READY"
"""Says to a generation which descriptor to write to once it can serve."""

_SOCKET = 3
"""The descriptor at which a generation finds its socket (sd_listen_fds(3))."""


_NOBODY = 0
"""No process's number."""


class Supervisor:
    """One service's. `command` is what a generation runs, on the socket at `path`."""

    def __init__(self, path: Path, release: Path, most: int, command: Sequence[str]) -> None:
        """`release` is the link to the release that is current: `command` begins below it.

        Raises OSError.
        """
        listener = listening_socket(path, os.environ)
        # First of all descriptors, for nothing else has this one yet.
        own = listener.detach()
        if own != _SOCKET:
            os.dup2(own, _SOCKET, inheritable=False)
            os.close(own)
        self._runtime = runtime = path.parent
        self._release = release
        self._command = command
        self._registry = Registry(runtime / "generations")
        self._selector = selectors.DefaultSelector()
        self._watched: dict[int, int] = {}
        """Descriptor (pidfd_open(2)) by process."""
        self._due = 0.0
        self._is_told = True
        self._listens = True
        self._code: int | None = None
        before = status.read(status.runtime_file(runtime))
        alive = [each for each in self._registry.alive() if self._watch(each)]
        serving = before.serving if before.serving in alive else None
        # Beside it those that drain, and one that had just been started: this one starts its own.
        draining = set(alive) - {serving}
        self._succession = Succession(
            most, serving, draining, asked=before.asked + 1, beyond=status.goes_beyond(runtime)
        )

    def run(self) -> int:
        """Serve until it is told to end; returns the exit code."""
        self._listen_to_signals()
        if self._succession.serving is not None:
            print(f"takes over from {self._succession.serving}", flush=True)
        self._do(self._succession.begin())
        while self._code is None:
            for key, _ in self._selector.select(timeout=1.0):
                if self._code is None:
                    key.data()
            if self._succession.starting is not None:
                self._look_at_the_clock()
            if not self._is_told:
                self._tell()
        return self._code

    def _do(self, actions: Sequence[Action]) -> None:
        # What is written first is true after a crash: who drains is known before it does.
        self._tell()
        for action in actions:
            match action:
                case Start():
                    self._start()
                case Drain(process):
                    self._signal(process, signal.SIGTERM)
                case HandBack(process):
                    # Where there is no room for it, it is waited for.
                    with contextlib.suppress(OSError):
                        status.hand_back_file(self._runtime, process).touch()
                case Kill(process):
                    print(f"{process} didn't come to serve in {OVERDUE:.0f} s: killed", flush=True)
                    self._signal(process, signal.SIGKILL)
                case Leave(code):
                    self._code = code
        self._tell()

    def _start(self) -> None:
        """Fork and exec a generation that hears of its readiness by a pipe."""
        ready, told = os.pipe()
        try:
            process = os.fork()
        except OSError as error:
            print(f"no process can be started: {error}", flush=True)
            os.close(ready)
            os.close(told)
            # As one that ended at once.
            self._succession.started(_NOBODY)
            self._do(self._succession.ended(_NOBODY))
            return
        if process == 0:
            try:
                self._become_generation(told)
            finally:
                os._exit(127)
        os.close(told)
        status.hand_back_file(self._runtime, process).unlink(missing_ok=True)
        self._due = time.monotonic() + OVERDUE
        self._selector.register(ready, selectors.EVENT_READ, lambda: self._heard(process, ready))
        self._succession.started(process)
        self._watch(process)

    def _become_generation(self, told: int) -> None:
        self._registry.join()
        os.set_inheritable(told, True)
        os.set_inheritable(_SOCKET, True)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGHUP, signal.SIGTERM, HANDOVER):
            signal.signal(each, signal.SIG_DFL)
        # The release as it is now: a generation stays with the one that it began with.
        release = os.path.realpath(self._release)
        program = self._command[0].replace(str(self._release), release, 1)
        arguments = [program, *self._command[1:]]
        os.execve(program, arguments, _environment(os.environ, told))  # noqa: S606

    def _heard(self, process: int, ready: int) -> None:
        """The pipe has a byte, or its end: then the process has ended, which is told otherwise."""
        is_ready = bool(os.read(ready, 1))
        self._selector.unregister(ready)
        os.close(ready)
        if is_ready:
            self._do(self._succession.ready(process))

    def _watch(self, process: int) -> bool:
        """Hear of its end; whether it is there."""
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            return False
        self._watched[process] = descriptor
        self._selector.register(descriptor, selectors.EVENT_READ, lambda: self._gone(process))
        return True

    def _gone(self, process: int) -> None:
        descriptor = self._watched.pop(process)
        self._selector.unregister(descriptor)
        os.close(descriptor)
        with contextlib.suppress(ChildProcessError):  # A predecessor's.
            os.waitpid(process, os.WNOHANG)
        status.hand_back_file(self._runtime, process).unlink(missing_ok=True)
        self._do(self._succession.ended(process))

    def _signal(self, process: int, number: signal.Signals) -> None:
        # One that has just ended is heard of in a moment.
        with contextlib.suppress(KeyError, ProcessLookupError):
            signal.pidfd_send_signal(self._watched[process], number)

    def _listen_to_signals(self) -> None:
        heard, waker = socket.socketpair()
        for each in (heard, waker):
            each.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._waker = waker
        meanings: dict[int, Callable[[], None]] = {
            signal.SIGHUP: self._reload,
            signal.SIGTERM: self._stop,
            HANDOVER: self._hand_over,
        }
        for number in meanings:
            signal.signal(number, lambda number, frame: None)

        def take() -> None:
            # Several of one kind that came together are one.
            for number in dict.fromkeys(heard.recv(4096)):
                meanings[number]()

        self._selector.register(heard, selectors.EVENT_READ, take)

    def _stop(self) -> None:
        if self._listens:
            # Nobody takes what would wait in its queue for as long as the last upload runs.
            self._listens = False
            forget(os.environ)
            os.close(_SOCKET)
        self._do(self._succession.stop())

    def _reload(self) -> None:
        self._do(self._succession.reload(status.goes_beyond(self._runtime)))

    def _hand_over(self) -> None:
        self._code = 0

    def _look_at_the_clock(self) -> None:
        if time.monotonic() > self._due:
            self._due = time.monotonic() + OVERDUE
            self._do(self._succession.overdue())
        if not self._succession.served:
            # The start may take as long as it needs: TimeoutStartSec= is from here on.
            notify("EXTEND_TIMEOUT_USEC=60000000", os.environ)

    def _tell(self) -> None:
        at = self._succession
        said = Status(
            asked=at.asked,
            served=at.served,
            failed=at.failed,
            waits=at.waits,
            most=at.most,
            serving=at.serving,
            draining=tuple(sorted(at.draining)),
        )
        self._write_down(said)
        # The unit has started once this one's own generation serves, or can't for now.
        if at.serving is not None and (at.served or at.failed or at.waits):
            notify(f"READY=1\nSTATUS={status.in_words(said)}", os.environ)

    def _write_down(self, said: Status) -> None:
        """For others to read. /run may be full for a while, and whoever serves goes on."""
        path = status.runtime_file(self._runtime)
        try:
            status.write(path, said)
        except OSError as error:
            if self._is_told:
                print(f"{path} stays as it was, for it can't be written: {error}", flush=True)
            self._is_told = False
        else:
            self._is_told = True


def _environment(own: Mapping[str, str], told: int) -> dict[str, str]:
    """A generation's: the socket is for it, systemd's notifications aren't."""
    without = {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_USEC"}
    kept = {name: value for name, value in own.items() if name not in without}
    return kept | {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "1",
        READY_VARIABLE: str(told),
    }
