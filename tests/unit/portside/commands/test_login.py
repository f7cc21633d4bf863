"""`portside login` and `logout`: where the key lies, who sees it, and what stands in for it."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from portside.client import control as client_control
from tests.support.client.command import Run
from tests.support.client.control_double import API_KEY, ControlDouble, hang_up, refuse
from tests.support.client.terminal import Terminal


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_control, "SHORTEST_PAUSE", 0.001)


def log_in(control: ControlDouble, *arguments: str, key: str = API_KEY) -> Run:
    return Run("login", control.url, *arguments, stdin=f"{key}\n")


def kept(config_home: Path) -> Path:
    return config_home / "portside" / "login.json"


def test_the_key_from_stdin_is_checked_and_kept_for_its_owner_alone(
    control: ControlDouble, config_home: Path
) -> None:
    run = log_in(control)
    assert (run.code, run.out) == (0, "")
    assert API_KEY not in run.err
    assert stat.S_IMODE(kept(config_home).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept(config_home).parent.stat().st_mode) == 0o700
    assert json.loads(kept(config_home).read_text())["api_key"] == API_KEY
    control.requests.clear()
    assert Run("nodes").code == 0
    assert [request[:2] for request in control.requests] == [("GET", "/api/v1/nodes")]


def test_the_key_from_a_file_is_as_good(control: ControlDouble, tmp_path: Path) -> None:
    # Windows begins a text file with a mark, and ends its lines in its own way.
    (tmp_path / "key").write_bytes(b"\xef\xbb\xbf" + f"{API_KEY}\r\n".encode())
    assert Run("login", control.url, "--key-file", str(tmp_path / "key")).code == 0
    assert Run("nodes").code == 0


@pytest.mark.parametrize(
    ("written", "encoding"),
    [
        ("{key}\r\n", "utf-8-sig"),
        ("{key}\r\n", "utf-16"),
        ('"{key}"\n', "utf-8"),
        ("Authorization: Bearer {key}\n", "utf-8"),
    ],
)
def test_a_key_counts_as_programs_write_it(
    control: ControlDouble, tmp_path: Path, written: str, encoding: str
) -> None:
    (tmp_path / "key").write_text(written.format(key=API_KEY), encoding=encoding, newline="")
    assert Run("login", control.url, "--key-file", str(tmp_path / "key")).code == 0
    if encoding != "utf-16":
        kept_so = (tmp_path / "key").read_bytes().decode()
        assert log_in(control, key=kept_so).code == 0
        # An environment file's lines, with the quotes and line ends that Docker leaves in them.
        url = f'"{control.url.replace("http:", "HTTP:")}/"\r'
        assert Run("ls", PORTSIDE_URL=url, PORTSIDE_API_KEY=kept_so).code == 0


def test_a_key_file_that_is_no_text_is_named(control: ControlDouble, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\x89PNG")
    run = Run("login", control.url, "--key-file", str(tmp_path / "key"))
    assert (run.code, f"{tmp_path / 'key'}: is no text file" in run.err) == (2, True)


def test_on_a_terminal_the_key_is_asked_for_and_not_shown(
    control: ControlDouble, config_home: Path
) -> None:
    terminal = Terminal("login", control.url)
    terminal.wait_for("API key")
    terminal.wait_until_silent()
    terminal.enter(API_KEY)
    assert terminal.end() == 0
    assert API_KEY.encode() not in terminal.shown
    assert kept(config_home).is_file()


def test_a_key_that_doesnt_count_is_refused_and_not_kept(
    control: ControlDouble, config_home: Path
) -> None:
    run = log_in(control, key="another-key-0123456789")
    assert run.code == 3
    assert "key-unknown" in run.err
    assert "another-key" not in run.err
    assert not kept(config_home).exists()


def test_a_key_that_may_only_open_sessions_is_a_key(control: ControlDouble) -> None:
    control.faults = [refuse(403, "scope-missing")]
    assert log_in(control).code == 0


@pytest.mark.parametrize("key", ["", "short", "two words-0123456789", "umläut-0123456789"])
def test_what_is_no_key_is_told_without_quoting_it(control: ControlDouble, key: str) -> None:
    run = log_in(control, key=key)
    assert run.code == 2
    assert "no API key" in run.err
    assert not key or key not in run.err
    assert not control.requests


@pytest.mark.parametrize(
    "url", ["http://c01.example.net", "https://c01.example.net/api", "https://me:pw@c01", "ftp://x"]
)
def test_a_url_that_cant_be_right_is_a_usage_error(url: str, config_home: Path) -> None:
    run = Run("login", url, stdin=API_KEY)
    assert run.code == 2
    assert "control plane's URL" in run.err
    assert not kept(config_home).exists()


def test_a_control_plane_that_doesnt_answer_is_told_after_a_few_attempts(
    control: ControlDouble,
) -> None:
    control.faults = [hang_up] * client_control.ATTEMPTS
    run = log_in(control)
    assert run.code == 4
    assert f"{control.url}: no connection" in run.err
    assert len(control.requests) == client_control.ATTEMPTS


def test_the_ca_is_remembered_with_its_full_path(
    control: ControlDouble,
    config_home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "ca.crt").write_text("")
    monkeypatch.chdir(tmp_path)
    assert log_in(control, "--ca", "ca.crt").code == 0
    assert json.loads(kept(config_home).read_text())["ca"] == str(tmp_path / "ca.crt")
    (tmp_path / "ca.crt").unlink()
    run = Run("nodes")
    assert run.code == 2
    assert "there is no such CA file" in run.err


def test_without_a_login_each_command_says_what_to_do() -> None:
    run = Run("nodes")
    assert run.code == 2
    assert "portside login URL" in run.err


def test_logout_forgets(control: ControlDouble, config_home: Path) -> None:
    log_in(control)
    assert Run("logout").code == 0
    assert not kept(config_home).exists()
    assert Run("logout").code == 0
    assert Run("nodes").code == 2


def test_the_environment_stands_in_for_a_login(control: ControlDouble) -> None:
    environment = {"PORTSIDE_URL": control.url, "PORTSIDE_API_KEY": API_KEY}
    assert Run("nodes", **environment).code == 0


def test_a_kept_key_never_goes_to_another_url(control: ControlDouble) -> None:
    log_in(control)
    control.requests.clear()
    other = control.url.replace("127.0.0.1", "localhost")
    run = Run("nodes", PORTSIDE_URL=other)
    assert run.code == 2
    assert f"portside login {other}" in run.err
    assert not control.requests
    assert Run("nodes", PORTSIDE_URL=control.url).code == 0


def test_a_key_of_the_environment_alone_goes_to_the_kept_url(control: ControlDouble) -> None:
    run = Run("nodes", PORTSIDE_API_KEY=API_KEY)
    assert run.code == 2
    assert "PORTSIDE_URL" in run.err
    log_in(control)
    assert Run("nodes", PORTSIDE_API_KEY="another-key-0123456789").code == 3
    assert Run("nodes").code == 0


def test_a_login_that_others_can_read_is_not_used(
    control: ControlDouble, config_home: Path
) -> None:
    log_in(control)
    kept(config_home).chmod(0o640)
    run = Run("nodes")
    assert run.code == 2
    assert "can be read by others" in run.err


def test_a_broken_login_file_is_told_without_its_content(
    control: ControlDouble, config_home: Path
) -> None:
    log_in(control)
    kept(config_home).write_text(f'{{"api_key": "{API_KEY}", "more": 1}}')
    run = Run("nodes")
    assert run.code == 2
    assert "portside login" in run.err
    assert API_KEY not in run.err
