"""Runs of the deploy as an operator types them, in the project's folder or in a copy of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import load
from portside.operator import node_lock, ssh
from portside.operator.keystore import Keystore

_SOURCES = (
    *("agent", "clusters", "control", "deploys", "portside", "requirements", "templates"),
    *("README.md", "config.py", "inventory", "pyproject.toml"),
)
_COMMAND = (sys.executable, "-m", "pyinfra", "inventory", "-y")
_PATIENCE = 600.0
"""Seconds for one run."""


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run: what it said, and per operation the hosts it changed or failed on."""

    succeeded: bool
    output: str
    operations: list[dict[str, Any]]

    def hosts(self, outcome: str) -> dict[str, list[str]]:
        """Operations with their hosts for `success` (changed), `error` or `no_change`."""
        return {each["name"]: each[outcome] for each in self.operations if each[outcome]}

    @property
    def failed_in(self) -> str | None:
        """The operation in which hosts failed. With no host left, pyinfra prints no JSON."""
        operation = None
        for line in self.output.splitlines():
            if "--> Starting operation: " in line:
                operation = line.partition("operation: ")[2].strip()
            elif re.search(r"\] (nested +)?Error", line):
                return operation
        return None


def deploy(
    cluster: Path,
    *arguments: str,
    project: Path = PROJECT_ROOT,
    script: str = "site.py",
    heard: Callable[[str], None] = lambda line: None,
) -> Run:
    """One run of `deploys/<script>` to its end; `heard` is told each line as soon as it is said."""
    said = ""
    with (
        tempfile.TemporaryFile("w+") as printed,
        subprocess.Popen(
            [*_COMMAND, f"deploys/{script}", "--json", *arguments],
            cwd=project,
            env=_environment(cluster, project),
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        too_late = threading.Timer(_PATIENCE, process.kill)
        too_late.start()
        try:
            assert process.stderr is not None
            for line in map(_plain, process.stderr):
                said += line
                heard(line)
            process.wait()
        finally:
            too_late.cancel()
            process.kill()
        assert process.returncode != -signal.SIGKILL, f"not within {_PATIENCE} s:\n{said}"
        printed.seek(0)
        told = printed.read()
    # A run that is aborted while it is prepared prints no JSON, and one that only looks no results.
    results = json.loads(told)["results"] if told.strip() else None
    operations = results["operations"] if results else []
    return Run(process.returncode == 0, said + _plain(told), operations)


def deploy_and_kill(cluster: Path, node_id: str, operation: str) -> None:
    """A run that is killed in the moment in which `operation` has succeeded on the node."""
    with subprocess.Popen(
        [*_COMMAND, "deploys/site.py", "--limit", node_id],
        cwd=PROJECT_ROOT,
        env=_environment(cluster, PROJECT_ROOT),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        reached, said = False, ""
        for line in map(_plain, process.stderr):
            said += line
            reached = reached or f"operation: {operation}" in line
            if reached and re.search(rf"\[{node_id}\] (nested +)?Success", line):
                process.send_signal(signal.SIGKILL)
                return
    raise AssertionError(f"the run ended without {operation}:\n{said}")


@contextmanager
def holding_the_lock(cluster: Path, node_id: str, who: str) -> Iterator[None]:
    """Somebody else's run is at the node for as long as the block lasts."""
    script = node_lock.script(who, "deploy by hand", datetime.now(UTC))
    found = load(cluster)
    keystore = Keystore.for_cluster(found, PROJECT_ROOT)
    words = ssh.command(ssh.access(found, node_id, PROJECT_ROOT), ["sh", "-c", script], keystore)
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()


def copy_project(directory: Path) -> Path:
    """The project's sources in a folder where they may be broken; its secrets and lab stay here."""
    for name in _SOURCES:
        source = PROJECT_ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, directory / name)
    # The same sources are the same release: it needn't be built again.
    for name in (".vagrant", "build"):
        (directory / name).symlink_to(PROJECT_ROOT / name)
    return directory


def _environment(cluster: Path, project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PORTSIDE_CLUSTER": str(cluster),
        "PORTSIDE_SECRETS": os.environ.get("PORTSIDE_SECRETS", str(PROJECT_ROOT / "secrets")),
        "PYTHONPATH": str(project),
        "PYINFRA_PROGRESS": "off",
    }


def _plain(text: str) -> str:
    """Without the terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
