"""The agent runs while its data disk is mounted: the program that sees to it, without mounts.

On a real machine, with systemd: tests/lab/spare/test_disk.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from deploys.components.machine import disk
from tests.support.deploys.nodes import MakeNode
from tests.support.loopback import wait_until

SERVICES = "portside-agent.service portside-agent-worker.service"


@dataclass(frozen=True, slots=True)
class Watch:
    """The program at work on a folder that stands for the mount point."""

    folder: Path

    def mount(self, number: int) -> None:
        """As a mount of this number appears: its marker can be read then."""
        # The program looks all the time: there is no moment in which the file is empty.
        (self.folder / "next").write_text(f"{number}\n")
        (self.folder / "next").replace(self.folder / "number")
        (self.folder / "root").mkdir(exist_ok=True)
        (self.folder / "root" / ".portside-root").write_text("s01\n")

    def unmount(self) -> None:
        (self.folder / "root" / ".portside-root").unlink()

    def was_told(self, *orders: str) -> bool:
        """Whether systemd was told these, in this order, and no more."""
        log = self.folder / "log"
        return log.exists() and log.read_text().splitlines() == list(orders)


@pytest.fixture
def watch(make_node: MakeNode, tmp_path: Path) -> Iterator[Watch]:
    root = PurePosixPath("/srv/portside")
    program = tmp_path / "watch"
    program.write_text(
        disk.watch_command(make_node(), root).replace(str(root), str(tmp_path / "root"))
    )
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, script in (
        (
            "findmnt",
            f'case "$*" in *--poll*) exit ;; esac; echo >> {tmp_path}/looks\n'
            f"[ ! -e {tmp_path}/killed ] || kill -KILL $$; cat {tmp_path}/number",
        ),
        ("systemctl", f'[ "$1" = is-enabled ] || echo "$*" >> {tmp_path}/log'),
        ("sleep", "exec /bin/sleep 0.02"),
    ):
        (tools / name).write_text(f"#!/bin/sh\n{script}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}"}
    with subprocess.Popen(["sh", str(program)], env=environment) as process:
        yield Watch(tmp_path)
        process.terminate()


def test_the_agent_starts_when_its_disk_comes_and_stops_when_it_goes(watch: Watch) -> None:
    stop = f"stop --no-block {SERVICES}"
    start, again = (
        [f"{order} --no-block {service}" for service in SERVICES.split()]
        for order in ("start", "restart")
    )
    wait_until(lambda: watch.was_told(stop))
    watch.mount(1)
    wait_until(lambda: watch.was_told(stop, *start))
    # Away and back between two looks: what runs would still have the mount that is gone.
    watch.mount(2)
    wait_until(lambda: watch.was_told(stop, *start, *again))
    watch.unmount()
    wait_until(lambda: watch.was_told(stop, *start, *again, stop))


def test_a_look_that_is_killed_stops_nothing(watch: Watch) -> None:
    stop = f"stop --no-block {SERVICES}"
    wait_until(lambda: watch.was_told(stop))
    (watch.folder / "killed").touch()
    watch.mount(1)
    looks = watch.folder / "looks"
    wait_until(lambda: looks.exists() and looks.stat().st_size > 3)
    assert watch.was_told(stop)
    (watch.folder / "killed").unlink()
    start = [f"start --no-block {service}" for service in SERVICES.split()]
    wait_until(lambda: watch.was_told(stop, *start))
    (watch.folder / "killed").touch()
    seen = looks.stat().st_size
    wait_until(lambda: looks.stat().st_size > seen + 3)
    assert watch.was_told(stop, *start)
