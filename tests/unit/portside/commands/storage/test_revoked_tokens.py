"""`portside token revoke` and `revoked`: whom they tell, and that no command line has the token."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from portside.operator.keystore import Keystore
from tests.support import ssh_double
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble
from tests.support.cluster_files import CLUSTER

ALONE = CLUSTER.replace(", c01: {}", "")
"""Without a control plane."""

SSH = """\
echo "$@" >> {home}/lines
cat >> {home}/input
exit {code}
"""


@pytest.fixture
def ssh(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ssh` that notes what it is to run and what it is told; returns the folder of that."""
    (project / "cluster.yaml").write_text(ALONE)
    monkeypatch.setenv("PATH", f"{project}:{os.environ['PATH']}")
    ssh_double.write(project, SSH.format(home=project, code=0))
    ssh_double.met(project / "secrets" / "test", "s01.portside.test", "s02.portside.test")
    return project


def token() -> str:
    made = Run("token", "access", "--node", "s02", "--right", "list")
    assert made.code == 0, made.err
    return made.out.strip()


def told_on(ssh: Path) -> list[str]:
    """The command lines that ran, and what they read from stdin behind them."""
    return [*(ssh / "lines").read_text().splitlines(), (ssh / "input").read_text()]


@pytest.mark.usefixtures("keystore")
def test_the_control_plane_is_told_of_a_token_or_its_id(logged_in: ControlDouble) -> None:
    given = token()
    for named, stdin, sent in (
        ("-", f"Bearer {given}\n", {"token": given, "reason": "lost"}),
        ("-", "a-token-of-mine\n", {"token_id": "a-token-of-mine", "reason": "lost"}),
        ("a-token-of-mine", "", {"token_id": "a-token-of-mine", "reason": "lost"}),
    ):
        run = Run("token", "revoke", named, "--reason", "lost", stdin=stdin)
        assert run.code == 0, run.err
        assert "is revoked until" in run.out
        assert given not in run.out + run.err
        method, path, _, body = logged_in.requests[-1]
        assert (method, path, json.loads(body)) == ("POST", "/api/v1/revocations", sent)
    table = Run("token", "revoked").out.splitlines()
    assert [line.split()[0] for line in table] == [
        *("id", "of-the-token", "a-token-of-mine", "a-token-of-mine")
    ]
    told = json.loads(Run("token", "revoked", "--json").out)["revoked"]
    assert [each["reason"] for each in told] == ["lost"] * 3
    assert Run("token", "revoke", "-", stdin="").code == 2


def test_without_a_control_plane_the_tokens_own_node_is_told_through_stdin(
    ssh: Path, keystore: Keystore
) -> None:
    given = token()
    run = Run("token", "revoke", "-", "--reason", "on a wall", stdin=given)
    assert run.code == 0, run.err
    line, stdin = told_on(ssh)
    assert "-l root -o" in line
    assert "-- s02.portside.test " in line
    assert line.endswith("/portside-agent revoke - --reason 'on a wall'")
    assert stdin == given


def test_of_an_id_every_node_is_told_or_those_that_are_named(ssh: Path) -> None:
    assert Run("token", "revoke", "a-token-of-mine").code == 0
    assert Run("token", "revoke", "--node", "s02", "a-token-of-mine").code == 0
    *lines, stdin = told_on(ssh)
    assert ["-- s01." in line for line in lines] == [True, False, False]
    assert stdin == "a-token-of-mine" * 3
    assert Run("token", "revoked").code == 0
    assert [line.endswith("/portside-agent revoked") for line in told_on(ssh)[3:-1]] == [True, True]


def test_whom_to_tell_is_never_guessed(ssh: Path, logged_in: ControlDouble) -> None:
    (ssh / "cluster.yaml").write_text(CLUSTER)
    for words, said in (
        (("--node", "s09"), "no storage node"),
        # The cluster's own control plane, not the one of the login.
        (("--cluster", "cluster.yaml"), "portside login https://c01.portside.test"),
    ):
        run = Run("token", "revoke", "a-token-of-mine", *words)
        assert (run.code, said in run.err) == (2, True), run.err
    assert not (ssh / "lines").exists()
    assert logged_in.revoked == []
    ssh_double.write(ssh, SSH.format(home=ssh, code=1))
    run = Run("token", "revoke", "a-token-of-mine", "--node", "s01", "--node", "s02")
    assert (run.code, run.err.count(": not done")) == (1, 2)


def test_a_mistyped_option_is_no_tokens_id(logged_in: ControlDouble) -> None:
    run = Run("token", "revoke", "--dry-run")
    assert (run.code, "--dry-run is no option" in run.err) == (2, True), run.err
    assert logged_in.revoked == []
