"""What a login must be like for anything to be done over it, and what is said if it isn't."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys.runs.login import Login, LoginState, refusal
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE
from tests.support.deploys.this_computer import Programs


@pytest.mark.parametrize(
    ("sudo", "state"),
    [
        ("true", "works"),
        ("echo 'sudo: a password is required' >&2; false", "asks"),
        ("echo 'sudo-rs: interactive authentication is required' >&2; false", "asks"),
        ("echo 'sudo: sorry, you must have a tty to run sudo' >&2; false", "terminal"),
        ("echo 'Sorry, user deploy may not run sudo on s01.' >&2; false", "refuses"),
    ],
)
def test_what_sudo_says_is_understood(tmp_path: Path, sudo: str, state: str) -> None:
    programs = Programs(tmp_path)
    programs.make("sudo", sudo)
    done = programs.run(Login().command())
    assert Login().process(done.stdout.splitlines()) == LoginState(None, state)  # type: ignore[arg-type]


def test_lines_of_the_login_shell_are_told_from_answers(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    programs.make("sudo", "true")
    done = programs.run(f"echo; echo Welcome; echo 'sudo=works'; {Login().command()}")
    assert Login().process(done.stdout.splitlines()) == LoginState("Welcome", "works")


@pytest.mark.parametrize(
    ("state", "user", "words"),
    [
        (LoginState("Welcome!", "works"), "root", ("'Welcome!'", "~/.bashrc", "case $- in")),
        (LoginState("", "works"), "root", ("prints ''", "~/.bashrc")),
        (
            LoginState(None, "asks"),
            "ops",
            ("a password is required", "ops ALL=(ALL) NOPASSWD: ALL", "ssh.user: root"),
        ),
        (LoginState(None, "terminal"), "ops", ("Defaults:ops !requiretty",)),
        (LoginState(None, "refuses"), "ops", ("ops ALL=(ALL) NOPASSWD: ALL",)),
        (LoginState(None, "missing"), "ops", ("apt-get install sudo",)),
    ],
)
def test_a_login_that_will_not_do_is_refused_with_what_to_change(
    state: LoginState, user: str, words: tuple[str, ...]
) -> None:
    said = refusal(state, user)
    assert said is not None
    assert "\n" not in said
    assert all(each in said for each in words)


@pytest.mark.parametrize(
    ("state", "user"),
    [
        (LoginState(None, "works"), "ops"),
        (LoginState(None, "missing"), "root"),
        (LoginState(None, "asks"), "root"),
    ],
)
def test_root_needs_no_sudo_and_others_one_that_works(state: LoginState, user: str) -> None:
    assert refusal(state, user) is None


def test_it_is_looked_at_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(path))
    # There are no keys either, which is said later.
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path / "none"))
    talking = {**PRISTINE, "portside-login": ["Welcome to s01!", "portside-login", "sudo=works"]}
    with pytest.raises(PyinfraError, match=r"prints 'Welcome to s01!'"):
        fake_host.deploy("site.py", talking, "s01", ["storage"])
