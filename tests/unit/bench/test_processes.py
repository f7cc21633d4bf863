"""What a bench starts ends with it, whatever it was doing."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.processes import (
    ServerFailed,
    cpu_seconds,
    family_of,
    peak_memory,
    reset_peak_memory,
    running,
)
from tests.support.loopback import wait_until

_STUBBORN = """
import signal, subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", child])
print("up", flush=True)
time.sleep(600)
"""


def test_a_server_and_its_children_end_when_the_bench_fails(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        running("stubborn", [sys.executable, "-c", _STUBBORN], tmp_path) as server,
    ):
        server.wait_until(lambda: len(family_of(server.pid)) == 2)
        family = family_of(server.pid)
        raise KeyboardInterrupt
    wait_until(lambda: not any(_runs(pid) for pid in family))


def test_a_server_that_ends_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    program = "import sys; print('no such option'); sys.exit(3)"
    with (
        pytest.raises(ServerFailed, match=r"(?s)broken ended with 3: .*no such option"),
        running("broken", [sys.executable, "-c", program], tmp_path) as server,
    ):
        server.wait_until(lambda: False)


def test_a_killed_server_takes_its_children_with_it(tmp_path: Path) -> None:
    with running("stubborn", [sys.executable, "-c", _STUBBORN], tmp_path) as server:
        server.wait_until(lambda: len(family_of(server.pid)) == 2)
        family = family_of(server.pid)
        server.kill()
        wait_until(lambda: not any(_runs(pid) for pid in family))
        # Ending it once more is in order.
        server.kill()


def test_cpu_time_counts_the_work_of_this_process() -> None:
    before = cpu_seconds([os.getpid()])
    deadline = time.process_time() + 0.2
    while time.process_time() < deadline:
        pass
    assert 0.15 <= cpu_seconds([os.getpid()]) - before < 2


def test_peak_memory_starts_again_when_reset() -> None:
    size = 64 * 1024 * 1024
    block = bytearray(size)
    block[::4096] = bytes([1]) * (size // 4096)
    with_block = peak_memory([os.getpid()])
    del block
    reset_peak_memory([os.getpid()])
    assert peak_memory([os.getpid()]) < with_block - size // 2


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
