"""Debian's Prometheus, Alertmanager and node_exporter on loopback, as tests want them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.support.loopback import PATIENCE, reserved_port, wait_until

EVERY = 1
"""Seconds between two readings: as short as Prometheus's clock allows to rely on."""


class _Process:
    """One program of Prometheus's family that answers at `url`."""

    def __init__(self, home: Path, *arguments: str) -> None:
        self.port = reserved_port(self)
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [*arguments, f"--web.listen-address=127.0.0.1:{self.port}"], stderr=log, stdout=log
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def wait(self, path: str) -> None:
        """Wait until it answers at a path."""

        def answers() -> bool:
            assert self._process.poll() is None, self._log.read_text()
            try:
                return requests.get(f"{self.url}{path}", timeout=PATIENCE).status_code == 200
            except requests.ConnectionError:
                return False

        wait_until(answers)

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(timeout=PATIENCE)


class NodeExporter(_Process):
    """What tells how this computer is."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        super().__init__(home, "/usr/bin/prometheus-node-exporter")
        self.wait("/metrics")


class Alertmanager(_Process):
    """One that tells nobody."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.settings = home / "alertmanager.yml"
        self.settings.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
        super().__init__(
            home,
            "/usr/bin/prometheus-alertmanager",
            f"--config.file={self.settings}",
            f"--storage.path={home / 'data'}",
            "--cluster.listen-address=",
        )
        self.wait("/-/ready")


class Prometheus(_Process):
    """A Prometheus with these `scrape_configs`, empty as yet."""

    def __init__(self, home: Path, scrape_configs: Sequence[dict[str, Any]]) -> None:
        home.mkdir()
        self.settings = home / "prometheus.yml"
        every = f"{EVERY}s"
        text = {
            "global": {"scrape_interval": every, "scrape_timeout": every},
            "scrape_configs": list(scrape_configs),
        }
        self.settings.write_text(yaml.safe_dump(text))
        super().__init__(
            home,
            "/usr/bin/prometheus",
            f"--config.file={self.settings}",
            f"--storage.tsdb.path={home / 'data'}",
        )
        self.wait("/-/ready")

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers. A query that it doesn't understand fails the test."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=PATIENCE)
        document = answer.json()
        assert document["status"] == "success", f"{parameters}: {document}"
        return document["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an expression as of now."""
        return list(self.ask("query", query=expression)["result"])

    def problems_of_targets(self) -> dict[str, str]:
        """What it hears in place of metrics, by the target's URL."""
        found = self.ask("targets")["activeTargets"]
        return {each["scrapeUrl"]: each["lastError"] for each in found if each["health"] != "up"}

    def wait_until_all_answer(self) -> None:
        """Wait until it has read every target."""
        deadline = time.monotonic() + PATIENCE
        while wrong := self.problems_of_targets():
            assert time.monotonic() < deadline, wrong
            time.sleep(0.2)
