"""What was asked of a run, and that nobody is asked who can't answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from deploys.layout import PROJECT_ROOT
from deploys.runs import request
from deploys.runs.request import Request

DEPLOY = ("deploys/site.py",)


@pytest.fixture(autouse=True)
def unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request, "_request", Request())


def _read(terminal: bool, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> Request:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: terminal, raising=False)
    context = click.Context(click.Command("pyinfra"))
    context.params = {"operations": DEPLOY, **asked}
    with context:
        return request.read()


def test_without_a_terminal_a_run_that_would_ask_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(SystemExit, match=r"Add --dry .* or -y"):
        _read(False, monkeypatch)


@pytest.mark.parametrize(
    "asked",
    [
        {"yes": True},
        {"dry": True},
        {"json_output": True},
        {"operations": ("fact", "server.LinuxName")},
        {"operations": ("debug-inventory",)},
        {"operations": ("exec", "--", "true")},
    ],
)
def test_without_a_terminal_a_run_that_asks_nothing_goes_on(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    assert _read(False, monkeypatch, **asked).dry is bool(asked.get("dry"))


def test_with_a_terminal_it_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(True, monkeypatch, diff=True, fail_percent=10) == Request(
        full=True, most_failures=10
    )
    assert request.current().full


def test_pyinfra_itself_says_so_before_it_connects(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("name: test\ndomain: example.net\nnodes: {s01: {address: 192.0.2.1}}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pyinfra", "inventory", *DEPLOY],
        cwd=PROJECT_ROOT,
        env={**os.environ, "PORTSIDE_CLUSTER": str(path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert request.NO_TERMINAL in done.stderr
    assert "Connecting" not in done.stderr
    assert "Traceback" not in done.stderr
