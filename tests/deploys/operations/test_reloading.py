"""A reload counts when new workers are seen: those of the master that takes the next requests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploys.operations.reloading import reload_or_start

MASTER = """
import signal, subprocess
signal.signal(signal.SIGHUP, lambda *_: subprocess.Popen(["sleep", "60"]))
print("up", flush=True)
while True:
    signal.pause()
"""

SYSTEMCTL = """#!/bin/sh
case "$*" in
    *PIDFile*) echo {pid_file} ;;
    *MainPID*) echo {old} ;;
    reload*) kill -HUP {new} ;;
esac
"""


@pytest.fixture
def masters() -> Iterator[tuple[int, int]]:
    """Two masters that make a worker when they are told to; what is left of them ends."""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MASTER],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(2)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "up\n"
    yield started[0].pid, started[1].pid
    for each in started:
        os.killpg(each.pid, signal.SIGKILL)
        each.communicate()


@pytest.mark.parametrize("named", [True, False])
def test_workers_of_the_master_that_the_pid_file_names_count(
    tmp_path: Path, masters: tuple[int, int], named: bool
) -> None:
    """After an upgrade of nginx systemd takes the old master for the main one, for hours."""
    old, new = masters if named else masters[:1] * 2
    pid_file = tmp_path / "nginx.pid"
    if named:
        pid_file.write_text(f"{new}\n")
    systemctl = tmp_path / "systemctl"
    path = pid_file if named else ""
    systemctl.write_text(SYSTEMCTL.format(pid_file=path, old=old, new=new))
    systemctl.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "-c", reload_or_start("nginx.service", "echo no worker")],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
