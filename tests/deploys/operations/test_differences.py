"""What `--dry` shows: every difference in a file that all may read, and nothing of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.hosts.facts import PathState
from deploys.operations import files
from deploys.operations.differences import Texts, difference
from deploys.operations.files import File
from deploys.runs import request
from tests.support.deploys.this_computer import ThisComputer

files_in_place = files.files_in_place._inner

PATH = "/etc/nginx/nginx.conf"


def _state(mode: int = 0o644, owner: str = "root") -> PathState:
    return PathState("file", mode, owner, owner, "another digest")


def test_a_changed_file_is_shown_by_its_changed_lines() -> None:
    before = "".join(f"line {i}\n" for i in range(20))
    after = File(PATH, before.replace("line 9\n", "line nine\n"))
    assert list(difference(after, _state(), before, full=False)) == [
        f"--- {PATH}",
        f"+++ {PATH}",
        "@@ -8,5 +8,5 @@",
        *(" line 7", " line 8", "-line 9", "+line nine", " line 10", " line 11"),
    ]


def test_a_new_file_is_named_and_shown_if_asked_for() -> None:
    new = File(PATH, "one\ntwo\n")
    assert list(difference(new, None, "", full=False)) == [f"{PATH}: new, 2 lines, root:root 644"]
    assert list(difference(new, None, "", full=True))[-2:] == ["+one", "+two"]


def test_a_change_of_owner_and_mode_alone_is_said() -> None:
    file = File(PATH, "one\n", mode=0o755)
    state = PathState("file", 0o644, "ops", "ops", file.digest)
    assert list(difference(file, state, "one\n", full=False)) == [
        f"{PATH}: ops:ops 644 becomes root:root 755"
    ]


@pytest.mark.parametrize(("was", "becomes"), [(0o640, 0o640), (0o600, 0o644), (0o644, 0o640)])
def test_what_not_everybody_may_read_is_not_shown(was: int, becomes: int) -> None:
    file = File(PATH, "new secret\n", mode=becomes)
    for state in (_state(was), None if becomes != 0o644 else _state(was)):
        lines = "\n".join(difference(file, state, "old secret\n", full=True))
        assert "secret" not in lines
        assert PATH in lines


def test_a_run_that_only_looks_shows_them_and_one_that_changes_does_not(
    this_computer: ThisComputer, tmp_path: Path, me: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown, secret = tmp_path / "shown", tmp_path / "secret"
    shown.write_text("old\n")
    secret.write_text("old password\n")
    secret.chmod(0o600)
    wanted = [File(str(shown), "new\n", me), File(str(secret), "new password\n", me, 0o600)]
    list(files_in_place(files=wanted))
    assert this_computer.said == []
    monkeypatch.setattr(request, "_request", request.Request(dry=True))
    list(files_in_place(files=wanted))
    assert this_computer.said[3:5] == ["-old", "+new"]
    assert "password" not in "\n".join(this_computer.said)
    assert f"{secret}: other content" in this_computer.said[-1]


def test_texts_are_read_as_they_are(this_computer: ThisComputer, tmp_path: Path) -> None:
    texts = {"a": "one\n\n  two \\n\n", "b": "", "c": "no end"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [str(tmp_path / name) for name in (*texts, "missing")]
    found = this_computer.get_fact(Texts, paths=paths)
    assert found == {str(tmp_path / name): text for name, text in texts.items()}
