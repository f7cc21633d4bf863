"""The verbs of every day on machines as providers hand them out: an admin with sudo, port 2222."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import CLUSTER_VARIABLE
from tests.support.lab.odd import FIRST, NODES, SECOND, Operator
from tests.support.lab.verbs import FAB, done, fab

LOOKING = [("status",), ("doctor",), ("releases",), ("audit",), ("lock",), ("verify",)]


@pytest.mark.parametrize("words", LOOKING)
def test_what_only_looks_ends_well_and_has_its_object(
    operator: Operator, words: tuple[str, ...]
) -> None:
    said = done(operator.file, *words)
    assert said
    assert json.loads(done(operator.file, *words, "--json"))


def test_what_changes_nodes_says_first_what_it_would_do(operator: Operator) -> None:
    for words in (["restart"], ["reload"], ["lock", "--why", "x"], ["drain", FIRST]):
        assert "would" in done(operator.file, *words, "--dry")
    assert done(operator.file, "lock") == "".join(f"{each}: open\n" for each in NODES)


def test_each_is_restarted_and_reloaded_by_sudo(operator: Operator) -> None:
    said = done(operator.file, "restart")
    assert [line.partition(":")[0] for line in said.splitlines()] == list(NODES)
    assert done(operator.file, "reload").count("reloaded") == len(NODES)
    log = done(operator.file, "-H", FIRST, "logs", "--since", "1 hour ago", "--lines", "5")
    assert log.startswith(f"== {FIRST}\n")


def test_an_interrupted_drain_goes_on_and_is_taken_back(operator: Operator) -> None:
    words = [str(FAB), "drain", SECOND, "--watch"]
    with subprocess.Popen(
        words,
        cwd=PROJECT_ROOT,
        env={**os.environ, CLUSTER_VARIABLE: str(operator.file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{SECOND}: draining\n"
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "interrupted: the drain goes on; `fab drain NODE --watch`" in err
    assert f"{SECOND}: draining" in fab(operator.file, "status").stdout
    assert done(operator.file, "undrain", SECOND) == f"{SECOND}: active\n"


def test_with_a_machine_off_the_others_are_told_of(
    operator: Operator, machines: Mapping[str, Host]
) -> None:
    machines[SECOND].check_output("systemctl stop ssh.socket ssh; true")
    try:
        for words in LOOKING:
            ran = fab(operator.file, *words)
            assert ran.returncode == 1
            assert f"{SECOND}: can't be reached over SSH" in ran.stdout + ran.stderr
            assert "Traceback" not in ran.stderr
    finally:
        subprocess.run(
            ["lxc-attach", "-n", f"portside-odd-{SECOND}", "--", "systemctl", "start", "ssh"],
            check=True,
        )
