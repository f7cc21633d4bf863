"""A node whose clock is set ahead and back under its load, and is still wrong when it starts anew.

Agent and worker run on a clock of their own (`clock.c`, loaded before libc): only they see the
step, and nothing that waits is disturbed. While the clock is wrong a node may refuse tokens that
don't seem to be of now; once it is right again everything must go on.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from threading import Timer
from typing import Any

from faults.causing.crashes import LONGEST_LOAD
from faults.causing.portside_node import PortsideNode
from faults.causing.tus import Refused
from faults.causing.workload import Writer
from faults.checking.journal import Attempt
from tests.support.agent.worker_process import Worker

_SOURCE = Path(__file__).with_name("clock.c")

DAY = 86400.0
STEPS = (30.0, -30.0, 600.0, -600.0, DAY, -DAY, 400 * DAY, -400 * DAY)
"""Seconds ahead: within what is forgiven, beyond it, and out of all bounds."""

_BY_THE_CLOCK = (401, 410)
"""Statuses of tokens and uploads that seem to be over, or not to have begun."""


class Clock:
    """A clock that can be set: for programs started with `environment`."""

    def __init__(self, home: Path) -> None:
        """Raises CalledProcessError without a C compiler."""
        library, offset = home / "clock.so", home / "clock"
        compiler = ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(_SOURCE), "-lm"]
        subprocess.run(compiler, check=True, capture_output=True)
        offset.write_bytes(struct.pack("d", 0.0))
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), 8)
        self.environment = {"LD_PRELOAD": str(library), "PORTSIDE_CLOCK": str(offset)}

    @property
    def ahead(self) -> float:
        """Seconds."""
        return float(struct.unpack("d", self._offset[:])[0])

    def set(self, ahead: float) -> None:
        """Set it so many seconds ahead of this machine's."""
        self._offset[:] = struct.pack("d", ahead)


class SteppedNode(PortsideNode):
    """Agent and worker. The clock is wrong from the middle of each load on, until `check`."""

    def __init__(self, home: Path, *arguments: Any) -> None:
        super().__init__(home, *arguments)
        self._clock = Clock(home)
        self._when = Random(self._random.random())  # noqa: S311 (repeatable)
        self._worker: Worker | None = None
        self._timer: Timer | None = None

    def lay_out(self) -> None:
        """See PortsideNode.lay_out."""
        super().lay_out()
        self._clock.set(0.0)
        self.agent.anew = True
        self._worker = Worker(self.agent)
        self._worker.environment = self._clock.environment

    def start(self, under: Sequence[str] = ()) -> float:
        """See PortsideNode.start."""
        assert self._worker is not None  # noqa: S101 (it was laid out)
        variables = [f"{name}={value}" for name, value in self._clock.environment.items()]
        seconds = super().start([*under, "env", *variables])
        self._worker.start()
        return seconds

    def kill(self) -> None:
        """See PortsideNode.kill."""
        if self._timer is not None:
            self._timer.cancel()
        super().kill()
        if self._worker is not None:
            self._worker.kill()

    def writers(self, count: int) -> list[Writer]:
        """The load; the step comes in the middle of it, or before."""
        seconds = self._when.uniform(0, LONGEST_LOAD / 2)
        self._timer = Timer(seconds, self._clock.set, (self._when.choice(STEPS),))
        self._timer.start()
        return super().writers(count)

    def check(self) -> None:
        """The clock is right again, and with that every excuse is gone."""
        self._clock.set(0.0)
        super().check()

    def _refused(self, attempt: Attempt, refused: Refused, after: bool) -> None:
        by_the_clock = self._clock.ahead != 0.0 and refused.status in _BY_THE_CLOCK
        super()._refused(attempt, refused, after or by_the_clock)
