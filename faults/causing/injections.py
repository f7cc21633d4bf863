"""A disk that fails under a running node: errors and short writes, injected or real.

strace makes system calls of the running worker fail; libfiu shortens writes as a kernel may; a
full disk is really full, and a limit on a file's size really cuts the write that crosses it. After
each the node is killed, started without the fault and checked.
"""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import Any

from faults.causing.filesystem import Disk
from faults.causing.portside_node import PortsideNode
from faults.causing.workload import Writer
from portside.quantities import KIB, MIB

Injection = Callable[["FailingNode"], AbstractContextManager[None]]
"""A fault on a running node, from the context's beginning; the node is dead at its end."""

_LIBFIU = ("fiu/fiu_run_preload.so", "fiu/fiu_posix_preload.so")
_BLOCK = 4 * KIB


class FailingNode(PortsideNode):
    """A node whose disk fails under every load, and works again after every restart."""

    def __init__(self, injection: Injection, disk: Disk, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.disk = disk
        self.random = Random(self._random.random())  # noqa: S311 (repeatable)
        self._injection = injection
        self._injected = ExitStack()

    def writers(self, count: int) -> list[Writer]:
        """The load, which starts with the fault."""
        self.tolerant = True
        self._injected.enter_context(self._injection(self))
        return super().writers(count)

    def check(self) -> None:
        """The fault is gone, and with it every excuse."""
        self._injected.close()
        self.tolerant = False
        super().check()


def failing_call(call: str, error: str, most: int, forever: bool = False) -> Injection:
    """One call of each thread, among its first `most`, fails; `forever`: from that one on."""

    @contextmanager
    def inject(node: FailingNode) -> Iterator[None]:
        when = f"{node.random.randint(1, most)}{'+' if forever else ''}"
        command = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={call}"]
        command += ["-e", f"inject={call}:error={error}:when={when}"]
        command += ["-p", str(node.agent.worker_pid())]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            try:
                assert strace.stderr is not None  # noqa: S101 (asked for)
                if "attached" not in (said := strace.stderr.readline()):
                    raise InjectionFailed(f"strace: {said}")
                yield
            finally:
                # Not terminate: strace may wait for ever for threads that were killed.
                strace.kill()

    return inject


@contextmanager
def full_disk(node: FailingNode) -> Iterator[None]:
    """All but a few MiB of the disk are taken; the next start still finds it so."""
    hog = node.disk.root / "hog"
    left = node.random.randrange(0, 8 * MIB)
    with hog.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, node.disk.free - left))
    try:
        yield
    finally:
        hog.unlink(missing_ok=True)


@contextmanager
def short_writes(node: FailingNode) -> Iterator[None]:
    """Every fifth write takes less than it is given, as write(2) may.

    A direct write of an odd length is refused by the kernel (EINVAL): the rest of that file goes
    through the page cache and is shortened there.
    """
    libraries = " ".join(str(_library(name)) for name in _LIBFIU)
    enable = "\n".join(
        f"enable_random name=posix/io/rw/{call}/reduce,probability=0.2"
        for call in ("pwrite", "write", "writev")
    )
    node.kill()
    node.start(under=["env", f"LD_PRELOAD={libraries}", f"FIU_ENABLE={enable}"])
    yield


def _library(name: str) -> Path:
    """Debian puts libraries with or without the architecture into their path."""
    for place in (Path("/usr/lib"), *Path("/usr/lib").glob("*-linux-gnu")):
        if (place / name).exists():
            return place / name
    raise InjectionFailed(f"{name} is missing: install fiu-utils")


@contextmanager
def size_limit(node: FailingNode) -> Iterator[None]:
    """Files may grow to a few MiB: the write that crosses the limit is cut short there."""
    limit = 6 * MIB + node.random.randrange(512) * _BLOCK
    resource.prlimit(node.agent.worker_pid(), resource.RLIMIT_FSIZE, (limit, limit))
    yield


INJECTIONS: dict[str, Injection] = {
    "fsync fails (EIO)": failing_call("fsync", "EIO", 4),
    "fdatasync fails (EIO)": failing_call("fdatasync", "EIO", 4),
    "write fails (EIO)": failing_call("pwrite64", "EIO", 8),
    "write fails (ENOSPC)": failing_call("pwrite64", "ENOSPC", 8, forever=True),
    "full disk": full_disk,
    "short writes": short_writes,
    "file size limit": size_limit,
}


class InjectionFailed(Exception):
    """A fault that couldn't be injected; the message says by what tool."""
