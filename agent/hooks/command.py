"""Run a hook's command: bounded in time, its output kept short, nothing of it left behind."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.host.supervised_thread import Pulse
from agent.outbox.events import DONE, Outcome

_log = structlog.get_logger()

TIMEOUT = 600.0
"""Seconds a command may run."""

_TAIL = 2048
"""Bytes of output that are logged: the last ones say what went wrong."""

_SLICE = 0.5
"""Seconds between two looks at whether the worker is to stop."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; `interrupted` says that the worker's stop ended it."""

    outcome: Outcome
    output: str
    interrupted: bool = False


def run(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    sent: bytes,
    pulse: Pulse,
    timeout: float = TIMEOUT,
) -> Ran:
    """Run a command with `sent` on its standard input until it ends or time is up.

    What it has started and left running ends with it. A command that can't be run has failed.
    """
    try:
        process = subprocess.Popen(
            arguments,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            # What couldn't be sent isn't kept for later.
            bufsize=0,
            # A group of its own, to be ended as a whole.
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return Ran(Outcome("failed", f"can't be run: {error}"), "")
    _die_first(process.pid)
    output = _Output(process)
    try:
        _send(process, sent)
        ending = _watch(process, output, pulse, timeout)
    finally:
        # Not reaped yet: the group's number can't be another's.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.close()
    if ending == "stopped":
        return Ran(Outcome("failed", "the worker was stopped"), output.text(), interrupted=True)
    if ending == "late":
        return Ran(Outcome("failed", f"still ran after {timeout:.0f} s"), output.text())
    return Ran(_judged(process.returncode, output.text()), output.text())


def _watch(process: subprocess.Popen[bytes], output: _Output, pulse: Pulse, timeout: float) -> str:
    """Collect output until the command has ended: `ended`, `late` or `stopped`."""
    deadline = time.monotonic() + timeout
    while not _has_ended(process.pid):
        pulse.beat()
        if pulse.stopped:
            return "stopped"
        if time.monotonic() >= deadline:
            return "late"
        output.collect(_SLICE)
    output.collect(0)
    return "ended"


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, which stays a zombie: its id stays its own."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _judged(status: int, output: str) -> Outcome:
    if status == 0:
        return DONE
    ended = f"exit code {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"
    last = output.strip().rpartition("\n")[2]
    return Outcome("failed", f"{ended}: {last}" if last else ended)


def _send(process: subprocess.Popen[bytes], sent: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 (it was asked for)
    with process.stdin, suppress(BrokenPipeError):
        # Less than a pipe holds (64 KiB, pipe(7)): this doesn't wait for the command to read. One
        # that ended, or closed its input, has made its choice.
        process.stdin.write(sent)


def _die_first(pid: int) -> None:
    """When the worker's memory runs out, let the kernel end the command and not the worker."""
    try:
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
    except OSError as error:
        _log.warning("a command's OOM score can't be set", error=str(error))


class _Output:
    """The end of what a command writes; the rest is read and forgotten."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # noqa: S101 (it was asked for)
        self._pipe = process.stdout
        self._tail = b""
        self._open = True
        os.set_blocking(self._pipe.fileno(), False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._pipe, selectors.EVENT_READ)

    def collect(self, timeout: float) -> None:
        """Read what there is, waiting up to `timeout` seconds for it."""
        if not self._open:
            # The command closed its output and runs on.
            time.sleep(min(timeout, 0.05))
            return
        if self._selector.select(timeout):
            try:
                data = os.read(self._pipe.fileno(), 65536)
            except BlockingIOError:
                return
            self._open = bool(data)
            self._tail = (self._tail + data)[-_TAIL:]

    def text(self) -> str:
        """The last of it, as text."""
        return self._tail.decode(errors="replace")

    def close(self) -> None:
        """Done."""
        self._selector.close()
        self._pipe.close()
