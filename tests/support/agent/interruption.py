"""What can be had by strace alone: SIGKILL at an exact system call, and errors of the disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.agent.process import Agent


@contextmanager
def injected(agent: Agent, injection: str) -> Iterator[None]:
    """Attach strace to the running worker, so that its start isn't touched."""
    command = ["strace", "-f", "-o", "/dev/null", "-e", f"inject={injection}"]
    command += ["-p", str(agent.worker_pid())]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr is not None
            attached = strace.stderr.readline()
            assert "attached" in attached, attached
            yield
        finally:
            # Not terminate: strace may wait for ever for threads of a process it killed itself.
            strace.kill()
