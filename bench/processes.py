"""Servers under measurement: started, watched through /proc, and ended by their process ids.

CPU time is that of a process with all its threads and of its living descendants; the kernel's own
threads (writeback) are nobody's and are not counted. See proc(5).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60.0
_END_SECONDS = 15.0
_RESET_PEAK = "5"
"""Written to /proc/<pid>/clear_refs: VmHWM starts again from the present size."""
_for_good = threading.Lock()
"""Lives to the end, and can be weakly referred to."""


class ServerFailed(Exception):
    """A server didn't come up or went away; the message ends with its log's last lines."""


class Server:
    """A started process and its log."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process itself; its descendants are found through /proc."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return once `ready()`. Raises ServerFailed when the process ends or takes a minute."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            if self._process.poll() is not None:
                raise ServerFailed(
                    f"{self.name} ended with {self._process.returncode}: {self._tail()}"
                )
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self.name} is not ready after {_START_SECONDS:.0f} s: {self._tail()}"
                )
            time.sleep(0.01)

    def _tail(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-2000:]

    def end(self) -> None:
        """SIGTERM, then SIGKILL for whatever of the family is left."""
        family = family_of(self.pid)
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for process in family:
            if process != self.pid and _session(process) == self.pid:
                os.kill(process, signal.SIGKILL)

    def kill(self) -> None:
        """SIGKILL to the whole family at once, as a crash; its children leave no process behind."""
        if self._process.poll() is None:
            # It leads a session of its own (`start`), so the group is its family.
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def start(
    name: str,
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Server:
    """`command` in `directory`, to be ended by the caller; `<name>.log` there has its output."""
    log = directory / f"{name}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=directory,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the bench alone: it ends its servers in order.
            start_new_session=True,
        )
    return Server(name, process, log)


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """As `start`, until the context ends."""
    server = start(name, command, directory, environment)
    try:
        yield server
    finally:
        server.end()


def reserved_port(owner: object = _for_good) -> int:
    """A port of 127.0.0.1 for a server, for as long as `owner` lives: to the end if none is given.

    A socket is bound to it and doesn't listen. So neither a bind to port 0 nor a connection that
    goes out is given it, also while its server is down; a server that sets SO_REUSEADDR, as they
    all do, may listen on it (socket(7)).
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    weakref.finalize(owner, held.close)
    port: int = held.getsockname()[1]
    return port


def accepts(address: int | Path) -> Callable[[], bool]:
    """A question for `wait_until`: does something accept at this loopback port or socket path?"""

    def ask() -> bool:
        local = isinstance(address, Path)
        with socket.socket(socket.AF_UNIX if local else socket.AF_INET) as probe:
            target = str(address) if isinstance(address, Path) else ("127.0.0.1", address)
            return probe.connect_ex(target) == 0

    return ask


def family_of(pid: int) -> list[int]:
    """`pid` and all its living descendants."""
    found = [pid]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(child) for child in _read(task).split()]
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """User and system time of these processes, all threads, in seconds (steps of 10 ms)."""
    ticks = 0
    for pid in pids:
        fields = _after_name(_read(Path(f"/proc/{pid}/stat")))
        # utime, stime, and the same of children that have ended and been waited for.
        ticks += sum(int(number) for number in fields[11:15])
    return ticks / _TICKS


def reset_peak_memory(pids: Sequence[int]) -> None:
    """Let the next `peak_memory` tell of the time from now on."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK, encoding="ascii")


def peak_memory(pids: Sequence[int]) -> int:
    """Bytes of VmHWM of the largest of these processes; 0 for one that has ended."""
    return max(_peak(_read(Path(f"/proc/{pid}/status"))) for pid in pids)


def _peak(status: str) -> int:
    lines = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return max((int(line.split()[1]) * 1024 for line in lines), default=0)


def _session(pid: int) -> int | None:
    fields = _after_name(_read(Path(f"/proc/{pid}/stat")))
    return int(fields[3]) if fields else None


def _after_name(stat: str) -> list[str]:
    # The second field is the name in parentheses, which may hold spaces: count from behind it.
    return stat.rpartition(")")[2].split()


def _read(path: Path) -> str:
    """A file of /proc; empty when its process has just gone."""
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
