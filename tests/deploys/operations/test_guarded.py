"""Changes that a new login proves, by a real shell on this computer; only systemd is left out."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import ConnectError

from deploys import layout
from deploys.operations import guarded as module
from deploys.operations.files import File
from deploys.operations.guarded import proven_by_new_login
from tests.support.deploys.this_computer import shell

pytestmark = pytest.mark.usefixtures("this_computer")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for files, and one for programs that note how systemd is called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("systemctl", "systemd-run", "systemd-cat"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/called\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(layout, "STATE", str(tmp_path))
    monkeypatch.setattr(layout, "UNITS", str(tmp_path))
    monkeypatch.setattr(module, "_FOLDER", f"{tmp_path}/guarded")
    (tmp_path / "old").write_text("old\n")
    (tmp_path / "superfluous").write_text("there\n")
    return tmp_path


@pytest.fixture
def change(place: Path, me: str) -> Callable[..., list[StringCommand | FunctionCommand]]:
    """One file is changed, one is new, one goes; what is taken over is noted in `applied`."""

    def commands(content: str = "new\n", apply: str = "true") -> Any:
        return list(
            module.guarded._inner(
                subject="door",
                files=[
                    File(f"{place}/old", content, me, check="! grep -q bad {}"),
                    File(f"{place}/new", content, me),
                ],
                absent=[f"{place}/superfluous"],
                apply=f"cat {place}/old >> {place}/applied\n{apply}",
                undo=f"cat {place}/old >> {place}/applied",
            )
        )

    return commands


def _run(commands: list[Any], proven: bool = True) -> list[int]:
    """Run them as pyinfra would; returns the exit codes."""
    codes = []
    for command in commands:
        if isinstance(command, FunctionCommand):
            if not proven:
                break
            continue
        # Nobody but root may give units to root.
        command.bits = [str(bit).replace("chown root:root", "true") for bit in command.bits]
        codes.append(shell(command).returncode)
        if codes[-1]:
            break
    return codes


def _revert(place: Path, *arguments: str) -> None:
    assert shell(f"sh {place}/guarded/door/revert {' '.join(arguments)}").returncode == 0


def _files(place: Path) -> dict[str, str]:
    names = ("old", "new", "superfluous")
    return {name: (place / name).read_text() for name in names if (place / name).exists()}


BEFORE = {"old": "old\n", "superfluous": "there\n"}
AFTER = {"old": "new\n", "new": "new\n"}


def test_a_proven_change_stays_and_is_made_once(place: Path, change: Any) -> None:
    assert set(_run(change())) == {0}
    assert _files(place) == AFTER
    assert (place / "applied").read_text() == "new\n"
    called = (place / "called").read_text()
    assert "--unit=portside-revert-door --on-active=60" in called
    assert "systemctl stop portside-revert-door.timer" in called
    assert change() == []
    assert list((place / "guarded").iterdir()) == []


def test_nothing_counts_before_it_is_proven(place: Path, change: Any) -> None:
    _run(change(), proven=False)
    assert _files(place) == AFTER
    assert change() != []


@pytest.mark.parametrize("at_boot", [False, True])
def test_what_nobody_proves_is_undone(place: Path, change: Any, at_boot: bool) -> None:
    commands = change()
    _run(commands, proven=False)
    _revert(place, *(["boot"] if at_boot else []))
    assert _files(place) == BEFORE
    # At boot services haven't started yet: they read what is there.
    assert (place / "applied").read_text() == ("new\n" if at_boot else "new\nold\n")
    # A login that comes too late keeps nothing.
    assert shell(commands[-1]).returncode == 1
    assert change() != []


def test_an_undoing_that_the_power_cut_short_is_finished_at_boot(place: Path, change: Any) -> None:
    _run(change(), proven=False)
    folder = place / "guarded" / "door"
    folder.rename(folder.with_suffix(".reverting"))
    assert shell(f"sh {folder}.reverting/revert boot").returncode == 0
    assert _files(place) == BEFORE


def test_the_next_run_goes_back_before_it_tries_again(place: Path, change: Any) -> None:
    _run(change(), proven=False)
    _run(change("newer\n"), proven=False)
    _revert(place)
    assert _files(place) == BEFORE


def test_a_service_that_takes_it_not_over_has_the_old_files_at_once(
    place: Path, change: Any
) -> None:
    codes = _run(change(apply="false\ntrue"))
    assert codes[-1] == 1
    assert _files(place) == BEFORE
    assert (place / "applied").read_text() == "new\nold\n"


def test_a_candidate_that_fails_its_check_changes_nothing(place: Path, change: Any) -> None:
    assert _run(change("bad\n"))[-1] == 1
    assert _files(place) == BEFORE
    assert not (place / "applied").exists()


class _Refusing:
    """A host whose new logins fail as they would with another user's settings."""

    def __init__(self, *_: Any) -> None:
        self.data: dict[str, Any] = {}
        self.connector = self if _ else _Refusing(self)
        self.said: list[str] = []
        self.ran: list[str] = []

    def connect(self) -> None:
        raise ConnectError("Authentication error (username=root)")

    def run_shell_command(self, command: StringCommand, **_: Any) -> None:
        self.ran.append(str(command))

    def log_styled(self, text: str, **_: Any) -> None:
        self.said.append(text)


def test_without_a_new_login_it_is_undone_at_once_and_said_in_one_line() -> None:
    host: Any = _Refusing()
    assert not proven_by_new_login(host, host, "ssh")
    assert host.ran == ["sh /var/lib/portside-deploy/guarded/ssh/revert"]
    assert len(host.said) == 1
    assert "no new login came through after the change (Authentication error" in host.said[0]
