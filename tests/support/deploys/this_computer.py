"""This computer as pyinfra sees a host: facts and commands by a real shell."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyinfra.api.command import StringCommand


class ThisComputer:
    """Stands for pyinfra's host: its facts are read here, with a real shell."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def log(self, line: str) -> None:
        self.said.append(line)

    def get_fact(self, fact: type[Any], **arguments: Any) -> Any:
        output = shell(StringCommand(fact().command(**arguments)))
        lines = output.stdout.splitlines()
        return fact().process(lines) if lines else fact.default()


def shell(command: str | StringCommand) -> subprocess.CompletedProcess[str]:
    """Run a command as pyinfra would: `sh -c`, with what it sends on standard input."""
    if isinstance(command, str):
        command = StringCommand(command)
    return subprocess.run(
        ["sh", "-c", command.get_raw_value()],
        input=str(command.connector_arguments.get("_stdin", "")),
        capture_output=True,
        text=True,
        check=False,
    )


def run_all(commands: Iterable[str | StringCommand]) -> tuple[int, str]:
    """Run an operation's commands up to the first that fails: how many succeeded, what it said."""
    succeeded = 0
    for command in commands:
        done = shell(command)
        if done.returncode != 0:
            return succeeded, done.stderr
        succeeded += 1
    return succeeded, ""


def own(path: Path) -> str:
    """`user:group` of whoever runs the tests: nobody else may be given files without root."""
    return f"{path.owner()}:{path.group()}"


class Programs:
    """Programs of a machine that this computer isn't: found before its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "programs"
        self._folder.mkdir()

    def make(self, name: str, script: str) -> None:
        """One that runs this shell script."""
        path = self._folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as pyinfra would where these are installed."""
        return shell(f"PATH={self._folder}:$PATH; export PATH; {command}")
