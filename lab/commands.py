"""Runs other programs, so that a failure always ends in a message a person can act on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

# Enough to hold a program's complaint, little enough to read.
SHOWN_LINES = 25


class Problem(Exception):
    """Something the person at the terminal has to know, and what to do about it."""


def run(
    *command: str,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    text: str | None = None,
    timeout: float | None = None,
) -> str:
    """Run a command to its end and return what it printed on standard output."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {})},
            input=text,
            stdin=subprocess.DEVNULL if text is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise Problem(f"{command[0]}: no such program (python3 -m lab prepare)") from error
    except subprocess.TimeoutExpired as error:
        raise Problem(f"no end after {timeout:.0f} s: {' '.join(command)}") from error
    if done.returncode != 0:
        raise Problem(explain(command, done.returncode, done.stdout + done.stderr))
    return done.stdout


def run_tied(*command: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Like run, for long work: should this process be killed, the command ends as well."""
    return run("setpriv", "--pdeathsig", "TERM", *command, env=env, cwd=cwd)


def succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def explain(command: tuple[str, ...], code: int, output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()][-SHOWN_LINES:]
    shown = "\n".join(f"    {line}" for line in lines) or "    (it printed nothing)"
    return f"this command failed with code {code}:\n  {' '.join(command)}\n{shown}"
