"""Real processes of the control plane: gunicorn on loopback, the worker, the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from control.settings import CONFIG_VARIABLE
from portside.wire.problem import PROBLEM_PREFIX
from tests.support import fork_server
from tests.support.control.cluster import FakeNodes, settings
from tests.support.fork_server import Program
from tests.support.logs import text_of
from tests.support.loopback import reserved_port

PATIENCE = 60.0
"""Seconds for whatever is waited for."""

_COMMAND = ("-c", "from control.cli import main; main()")


class ControlPlane:
    """The processes of one control node; nodes are keys only."""

    def __init__(self, home: Path, database_url: str, **changed: Any) -> None:
        self.home = home
        self.nodes = FakeNodes()
        self.settings = settings(home, database_url, **changed)
        (home / "roster.json").write_text(self.nodes.roster().model_dump_json(exclude_none=True))
        self.log = home / "control.log"
        self._processes: list[Program] = []

    @property
    def environment(self) -> dict[str, str]:
        """With the settings' file named."""
        return {**os.environ, CONFIG_VARIABLE: str(self.home / "control.toml")}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`portside-control` to its end."""
        return fork_server.run("control", [*_COMMAND, *arguments], self.environment)

    def start_web(self, workers: int = 1, port: int | None = None) -> str:
        """Start gunicorn, on `port` or one of its own; returns its URL once it answers."""
        port = port or reserved_port(self)
        process = self._start(
            *("-m", "gunicorn", "control.wsgi:application", "--worker-class", "gthread"),
            *("--workers", str(workers), "--threads", "8", "--bind", f"127.0.0.1:{port}"),
            # As templates/gunicorn has them.
            *("--limit-request-line", "8190", "--limit-request-fields", "8320"),
            *("--limit-request-field_size", "8320"),
            *("--graceful-timeout", "5", "--no-control-socket"),
        )
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, text_of(self.log)
            try:
                # The socket is there before the application: the answer takes its time.
                live = requests.get(f"{url}/health/live", timeout=PATIENCE)
                return live.status_code == 204
            except requests.ConnectionError:
                return False

        self.wait_for(answers)
        return url

    def start_worker(self) -> Program:
        """Start the worker."""
        return self._start(*_COMMAND, "worker")

    def _start(self, *arguments: str) -> Program:
        with self.log.open("ab") as log:
            process = fork_server.start("control", arguments, self.environment, log)
        self._processes.append(process)
        return process

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, text_of(self.log)[-5000:]
            time.sleep(0.05)

    def end(self) -> None:
        """End every process that was started here."""
        for process in self._processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=PATIENCE)


def slug_of(response: requests.Response) -> str:
    """The problem's slug."""
    assert response.headers["Content-Type"] == "application/problem+json", response.text
    return str(response.json()["type"].removeprefix(PROBLEM_PREFIX))
