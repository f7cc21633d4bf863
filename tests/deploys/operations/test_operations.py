"""The operations' own promises, kept by a real shell on this computer."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationError

from deploys.operations import files, removal, services
from deploys.operations.files import Directory, File, Guard
from deploys.operations.services import Level
from tests.support.deploys.this_computer import run_all, shell

pytestmark = pytest.mark.usefixtures("this_computer")

files_in_place = files.files_in_place._inner
directories_in_place = files.directories_in_place._inner
mode_in_place = files.mode_in_place._inner
converged = services.converged._inner
files_gone = removal.files_gone._inner


def test_a_file_gets_its_content_mode_and_nothing_is_done_twice(tmp_path: Path, me: str) -> None:
    path = tmp_path / "file"
    wanted = [File(str(path), "it's $HOME\n", me, 0o640)]
    assert run_all(files_in_place(files=wanted)) == (2, "")
    assert path.read_text() == "it's $HOME\n"
    assert path.stat().st_mode & 0o7777 == 0o640
    assert list(files_in_place(files=wanted)) == []


def test_what_has_no_use_any_more_goes_once_its_service_has_stopped(tmp_path: Path) -> None:
    old, never = tmp_path / "old.timer", tmp_path / "never"
    old.touch()
    paths, first = [str(old), str(never)], f"cp {old} {tmp_path}/stopped"
    assert run_all(files_gone(paths=paths, first=first)) == (1, "")
    assert [path.name for path in tmp_path.iterdir()] == ["stopped"]
    assert list(files_gone(paths=paths, first=first)) == []


@pytest.mark.parametrize("change", ["content", "mode"])
def test_a_file_that_was_changed_by_hand_is_put_back(tmp_path: Path, me: str, change: str) -> None:
    path = tmp_path / "file"
    wanted = [File(str(path), "ours\n", me, 0o600)]
    run_all(files_in_place(files=wanted))
    path.write_text("theirs\n") if change == "content" else path.chmod(0o644)
    run_all(files_in_place(files=wanted))
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("ours\n", 0o600)


def test_a_failed_check_leaves_the_old_file_and_no_candidate(tmp_path: Path, me: str) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("old\n")
    bad.write_text("old\n")
    wanted = [
        File(str(good), "new\n", me, check="grep -q new {}"),
        File(str(bad), "new\n", me, check="echo no good >&2; false {}"),
    ]
    _, said = run_all(files_in_place(files=wanted))
    assert said == "no good\n"
    assert (good.read_text(), bad.read_text()) == ("old\n", "old\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad", "good"]


def test_the_check_sees_the_candidate_and_the_old_file_still_in_place(
    tmp_path: Path, me: str
) -> None:
    path = tmp_path / "unit.service"
    path.write_text("old\n")
    check = f"grep -q new {{}} && grep -q old {path} && case {{}} in *.service) ;; *) false; esac"
    assert run_all(files_in_place(files=[File(str(path), "new\n", me, check=check)])) == (3, "")


def test_a_file_that_the_node_made_gets_its_mode_back_and_keeps_its_content(
    tmp_path: Path, me: str
) -> None:
    path = tmp_path / "node.key"
    assert list(mode_in_place(path=str(path), owner=me, mode=0o600)) == []
    path.write_text("secret\n")
    path.chmod(0o644)
    assert run_all(mode_in_place(path=str(path), owner=me, mode=0o600)) == (1, "")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("secret\n", 0o600)
    assert list(mode_in_place(path=str(path), owner=me, mode=0o600)) == []


def test_a_private_file_is_never_readable_by_others(tmp_path: Path, me: str) -> None:
    path = tmp_path / "key"
    modes = tmp_path / "modes"
    # A peeping command: the candidate's mode right after it is written, before owner and mode.
    commands = list(files_in_place(files=[File(str(path), "secret\n", me, 0o600)]))
    first = commands[0].get_raw_value().replace("&& chown", f"&& stat -c %a .c > {modes} && chown")
    first = first.replace(" .c ", f" {tmp_path}/.candidate-key ")
    peeping = StringCommand(first, _stdin="secret\n")
    assert shell(peeping).returncode == 0
    assert modes.read_text() == "600\n"
    assert all("secret" not in command.get_raw_value() for command in commands)


def test_a_transfer_that_is_cut_is_noticed(tmp_path: Path, me: str) -> None:
    path = tmp_path / "file"
    command = next(iter(files_in_place(files=[File(str(path), "one\ntwo\n", me)])))
    cut = StringCommand(command.get_raw_value(), _stdin="one\n")
    assert shell(cut).returncode != 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_a_guard_does_not_hold(tmp_path: Path, me: str) -> None:
    guard = Guard("false", "it isn't mounted")
    for commands in (
        files_in_place(files=[File(str(tmp_path / "file"), "x\n", me)], guards=[guard]),
        directories_in_place(directories=[Directory(str(tmp_path / "d"), me)], guards=[guard]),
    ):
        assert run_all(commands) == (0, "it isn't mounted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_last_newline_is_refused(tmp_path: Path, me: str) -> None:
    with pytest.raises(OperationError, match="must end with a newline"):
        list(files_in_place(files=[File(str(tmp_path / "file"), "x", me)]))


def test_folders_get_their_modes_and_nothing_is_done_twice(tmp_path: Path, me: str) -> None:
    wanted = [Directory(f"{tmp_path}/a", me, 0o2750), Directory(f"{tmp_path}/a/b", me, 0o700)]
    assert run_all(directories_in_place(directories=wanted)) == (2, "")
    assert [Path(each.path).stat().st_mode & 0o7777 for each in wanted] == [0o2750, 0o700]
    assert list(directories_in_place(directories=wanted)) == []


NOBODY = "nobody:nogroup"


@pytest.fixture
def anothers() -> Iterator[Path]:
    """A folder that is a service's, who can reach it."""
    with tempfile.TemporaryDirectory() as name:
        shutil.chown(name, *NOBODY.split(":"))
        yield Path(name)


def test_in_a_services_folder_a_link_leads_root_to_no_other_folder(
    anothers: Path, tmp_path: Path
) -> None:
    wanted = [Directory(f"{anothers}/staging", NOBODY, 0o2750, in_owners_folder=True)]
    (anothers / "staging").symlink_to(tmp_path)
    before = tmp_path.stat()
    said = f"{anothers}/staging leads to a folder that is not {NOBODY}\n"
    assert run_all(directories_in_place(directories=wanted)) == (0, said)
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_mode) == (before.st_uid, before.st_mode)
    (anothers / "staging").unlink()
    assert run_all(directories_in_place(directories=wanted)) == (1, "")
    assert (anothers / "staging").stat().st_mode & 0o7777 == 0o2750
    assert list(directories_in_place(directories=wanted)) == []
    # Whoever's it is by now, it is put right.
    os.chown(anothers / "staging", 0, 0)
    assert run_all(directories_in_place(directories=wanted)) == (1, "")
    assert list(directories_in_place(directories=wanted)) == []


def test_in_a_services_folder_a_link_has_root_write_no_other_file(
    anothers: Path, tmp_path: Path
) -> None:
    wanted = [File(f"{anothers}/marker", "s01\n", NOBODY, 0o644, in_owners_folder=True)]
    roots = tmp_path / "roots"
    roots.write_text("root's\n")
    write, put = files_in_place(files=wanted)
    # Put there again and again, at whichever moment.
    raced = write.get_raw_value().replace("rm -f", "true", 1)
    (anothers / ".candidate-marker").symlink_to(roots)
    assert shell(StringCommand(raced, _stdin="s01\n")).returncode != 0
    assert (roots.read_text(), roots.stat().st_uid) == ("root's\n", 0)
    assert run_all([write, put]) == (2, "")
    assert (anothers / "marker").read_text() == "s01\n"
    assert list(files_in_place(files=wanted)) == []


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where stamps are, and a log of what a service was told."""
    monkeypatch.setattr(services, "STATE", str(tmp_path / "state"))
    return tmp_path


def _levels(state: Path) -> list[Level]:
    return [
        Level((f"{state}/unit",), f"echo restart >> {state}/log"),
        Level((f"{state}/settings",), f"echo reload >> {state}/log"),
    ]


def _converge(state: Path, holds: str = "true") -> list[str]:
    """What the service was told by one run."""
    log = state / "log"
    log.write_text("")
    run_all(converged(service="test", levels=_levels(state), holds=holds))
    return log.read_text().split()


def test_a_service_is_told_once_and_by_the_strongest_change(state: Path) -> None:
    (state / "unit").write_text("1")
    (state / "settings").write_text("1")
    assert _converge(state) == ["restart"]
    assert _converge(state) == []
    (state / "settings").write_text("2")
    assert _converge(state) == ["reload"]
    (state / "settings").write_text("3")
    (state / "unit").write_text("2")
    assert _converge(state) == ["restart"]
    assert _converge(state) == []


def test_a_run_that_died_before_the_restart_is_finished_by_the_next(state: Path) -> None:
    (state / "unit").write_text("1")
    _converge(state)
    # What a killed run leaves: the new file in its place, the service untold, the old stamp.
    (state / "unit").write_text("2")
    assert _converge(state) == ["restart"]


def test_an_action_that_fails_is_tried_again(state: Path) -> None:
    (state / "unit").write_text("1")
    failing = [Level((f"{state}/unit",), "echo broken >&2; false")]
    for _ in range(2):
        assert run_all(converged(service="test", levels=failing)) == (0, "broken\n")


def test_a_change_during_the_action_is_not_taken_for_read(state: Path) -> None:
    (state / "unit").write_text("1")
    busy = [Level((f"{state}/unit",), f"echo 2 > {state}/unit")]
    run_all(converged(service="test", levels=busy))
    assert len(list(converged(service="test", levels=busy))) == 1


def test_a_stopped_service_is_started_though_no_file_changed(state: Path) -> None:
    (state / "unit").write_text("1")
    _converge(state)
    assert _converge(state, holds="false") == ["restart"]


def test_files_that_go_are_told_of_before_they_are_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that dies on the way is finished by the next: the stamp is the last to go."""
    monkeypatch.setattr(removal, "STATE", str(tmp_path))
    stamp, ours, told = (tmp_path / each for each in ("service.stamp", "ours", "told"))

    def gone(then: str) -> tuple[int, str]:
        return run_all(files_gone(paths=[str(ours)], service="service", then=then))

    assert gone("false") == (0, "")
    ours.touch()
    stamp.touch()
    assert gone("echo no >&2; false") == (0, "no\n")
    assert (ours.exists(), stamp.exists()) == (False, True)
    assert gone(f"touch {told}") == (1, "")
    assert (told.exists(), stamp.exists()) == (True, False)
    assert gone("false") == (0, "")
