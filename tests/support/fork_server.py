"""Programs of this project started without importing their modules again: they are forked.

Importing an agent takes more than a second of a processor; a suite starts hundreds of them. Here an
interpreter imports a package's modules once, all but those that start something, and forks for each
start. What runs then is the program itself, begun as `python -m` or `python -c` begins it, with its
own arguments, environment, session and log. What matters before an interpreter runs (a command that
starts it, LD_PRELOAD, PYTHONPATH) and how much memory it takes is for a start of the usual kind.

This file is both sides. The interpreter that forks has a socket to the tests; with each start comes
another, on which it tells the process id and, once the program has ended, how.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, BinaryIO

_BEGUN_BY = frozenset({"__main__", "wsgi"})
"""Modules that do something when they are imported: each start imports its own."""

_WITH_THE_FIRST_USE = {"agent": ("boto3", "s3transfer", "botocore.httpsession")}
"""What a package imports late, for it isn't always needed: half a second of a processor."""

_BEFORE_THE_INTERPRETER = ("LD_", "MALLOC_", "PYTHON")
"""How variables begin that a forked interpreter would come too late for."""

_MOST_BYTES = 1 << 20
_ROOT = Path(__file__).parents[2]

_servers: dict[str, tuple[socket.socket, subprocess.Popen[bytes]]] = {}
_starting = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to run."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str


class Forked:
    """A program that was started, with what tests use of `subprocess.Popen`."""

    def __init__(self, channel: socket.socket) -> None:
        self.returncode: int | None = None
        self._channel = channel.makefile("rb", buffering=0)
        channel.close()
        pid = self._channel.readline()
        assert pid, "the interpreter that forks has ended: its output says why"
        self.pid = int(pid)

    def poll(self) -> int | None:
        """How it ended, None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, once it has. Raises TimeoutExpired."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._channel, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = int(self._channel.readline())
            self._channel.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Program = Forked | subprocess.Popen[bytes]


def start(
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    log: BinaryIO,
    under: Sequence[str] = (),
    *,
    anew: bool = False,
) -> Program:
    """Start `python *arguments` in a session of its own: forked where that makes no difference.

    `under` is a command that it is started by; `anew` starts it as nodes do in any case.
    """
    if anew or under or _early(environment) != _early(os.environ):
        return subprocess.Popen(
            [*under, sys.executable, *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return _fork(package, arguments, environment, log, log)


def run(
    package: str, arguments: Sequence[str], environment: Mapping[str, str], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run `python *arguments` to its end, forked. Raises TimeoutExpired."""
    with TemporaryFile() as out, TemporaryFile() as err:
        program = _fork(package, arguments, environment, out, err)
        try:
            code = program.wait(timeout)
        finally:
            program.kill()
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(
            arguments, code, out.read().decode(), err.read().decode()
        )


def _early(environment: Mapping[str, str]) -> dict[str, str]:
    return {k: v for k, v in environment.items() if k.startswith(_BEFORE_THE_INTERPRETER)}


def _fork(
    package: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    out: IO[bytes],
    err: IO[bytes],
) -> Forked:
    wanted = _Wanted(list(arguments), dict(environment), str(Path.cwd()))
    ours, theirs = socket.socketpair()
    with theirs:
        socket.send_fds(
            _server(package),
            [json.dumps(asdict(wanted)).encode()],
            [theirs.fileno(), out.fileno(), err.fileno()],
        )
    return Forked(ours)


def _server(package: str) -> socket.socket:
    """The interpreter that has imported `package`; it ends, with all it forked, when we do."""
    with _starting:
        if package not in _servers:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", __name__, package, str(theirs.fileno())],
                    cwd=_ROOT,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            _servers[package] = ours, process
            atexit.register(_hang_up, ours, process)
        return _servers[package][0]


def _hang_up(channel: socket.socket, server: subprocess.Popen[bytes]) -> None:
    channel.close()
    server.wait()


# -- the interpreter that forks --------------------------------------------------------------------


def _import_all(package: str) -> None:
    """Every module of the package and gunicorn's, as far as importing them starts nothing."""
    importlib.import_module("gunicorn.app.wsgiapp")
    importlib.import_module("gunicorn.workers.gthread")
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if not _BEGUN_BY & set(found.name.split(".")) and "migrations" not in found.name:
            importlib.import_module(found.name)
    for name in _WITH_THE_FIRST_USE.get(package, ()):
        importlib.import_module(name)


def _serve(control: socket.socket) -> _Wanted | None:
    """Fork for each request: what to run in a child, None once nobody asks any more."""
    running: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    pid, channel = running.pop(key.fd)
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    with channel:
                        _tell(channel, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
                    continue
                request, (*descriptors,), _, _ = socket.recv_fds(control, _MOST_BYTES, 3)
                if not request:
                    _end(pid for pid, _ in running.values())
                    return None
                channel = socket.socket(fileno=descriptors.pop(0))
                if (pid := os.fork()) == 0:
                    _begin(channel, *descriptors)
                    control.close()
                    for number, (_, other) in running.items():
                        os.close(number)
                        other.close()
                    return _Wanted(**json.loads(request))
                for number in descriptors:
                    os.close(number)
                ended = os.pidfd_open(pid)
                running[ended] = (pid, channel)
                selector.register(ended, selectors.EVENT_READ)


def _begin(channel: socket.socket, out: int, err: int) -> None:
    """A child: its session and where it writes to."""
    os.setsid()
    # Only now, so that whoever reads it can end the whole session.
    with channel:
        _tell(channel, os.getpid())
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)


def _end(sessions: Iterable[int]) -> None:
    for each in sessions:
        with suppress(ProcessLookupError):
            os.killpg(each, signal.SIGKILL)


def _tell(channel: socket.socket, number: int) -> None:
    # Whoever wanted to know may have ended.
    with suppress(BrokenPipeError):
        channel.sendall(b"%d\n" % number)


def _run(arguments: Sequence[str]) -> None:
    """Run as the interpreter runs `-m module ...` and `-c code ...`."""
    how, what, *rest = arguments
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    assert how == "-c", how
    sys.argv = ["-c", *rest]
    exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102


def _main() -> None:
    package, descriptor = sys.argv[1:]
    _import_all(package)
    # Else each collection in a child, above all the last one, would copy everything imported.
    gc.collect()
    gc.freeze()
    wanted = _serve(socket.socket(fileno=int(descriptor)))
    if wanted is not None:
        os.environ.clear()
        os.environ.update(wanted.environment)
        os.chdir(wanted.folder)
        _run(wanted.arguments)


if __name__ == "__main__":
    _main()
