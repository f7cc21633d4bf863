"""A real worker beside a test's agent: the same root, settings and keys, a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.index.database import Database
from agent.telemetry import worker_report
from agent.telemetry.worker_report import WorkerReport
from portside.wire.hooks import Hook
from tests.support import fork_server
from tests.support.agent.process import COMMAND, Agent
from tests.support.fork_server import Program
from tests.support.logs import text_of, whole_lines_of

PATIENCE = 60.0
"""Seconds for anything a worker does by itself within some."""


class Worker:
    """The worker of an agent's root. The agent itself may run or not."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.log = agent.home / "worker.log"
        self.environment: dict[str, str] = {}
        self._process: Program | None = None

    def start(self) -> None:
        """Start it and wait for its first report."""
        before = self._reported()
        environment = {
            **os.environ,
            "PORTSIDE_AGENT_CONFIG": str(self.agent.home / "agent.toml"),
            **self.environment,
        }
        with self.log.open("ab") as log:
            self._process = fork_server.start(
                "agent", [*COMMAND, "worker"], environment, log, anew=self.agent.anew
            )
        self.wait_for(lambda: self._reported() != before)

    def _reported(self) -> WorkerReport | None:
        return worker_report.read(self.report_path)

    @property
    def report_path(self) -> Path:
        """Where it reports."""
        return self.agent.root / "state" / "worker.json"

    @property
    def process(self) -> Program:
        """The process that was started."""
        assert self._process is not None
        return self._process

    def stop(self) -> list[str]:
        """End it as systemd would; returns the parts that didn't end when they were told to.

        For these it waits for some seconds, and ends without them.
        """
        before = len(self.logged("left behind"))
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=PATIENCE) == 0, text_of(self.log)
        self._process = None
        return [name for line in self.logged("left behind")[before:] for name in line["activities"]]

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE)
            self._process = None

    def report(self) -> WorkerReport:
        """Its last report."""
        found = worker_report.read(self.report_path)
        assert found is not None
        return found

    def wait_for(self, condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
        """Wait until something holds, while the worker runs."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the worker ended:\n{text_of(self.log)}"
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s:\n{text_of(self.log)}")

    def logged(self, event: str) -> list[dict[str, Any]]:
        """Its log's lines about this event."""
        lines = [json.loads(line) for line in whole_lines_of(self.log) if line[:1] == "{"]
        return [line for line in lines if line["event"] == event]

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """What the index says."""
        database = Database(self.agent.root / "state" / "index.sqlite")
        try:
            return database.rows(query, parameters)
        finally:
            database.close()

    def change(self, statement: str, *parameters: object) -> None:
        """Change the index, as time would."""
        database = Database(self.agent.root / "state" / "index.sqlite")
        try:
            with database.transaction() as connection:
                connection.execute(statement, parameters)
        finally:
            database.close()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `portside-agent` on this root."""
        return self.agent.command(*arguments)


def add_hooks(agent: Agent, *hooks: Hook) -> None:
    """Add hooks to an agent's settings, before it is started."""
    with (agent.home / "agent.toml").open("a") as file:
        for hook in hooks:
            file.write("\n[[hooks]]\n")
            for key, value in hook.model_dump(exclude_none=True).items():
                file.write(f"{key} = {json.dumps(value)}\n")
