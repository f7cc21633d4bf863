"""A node leaves: kept while it has an only copy, made anew on its data, let go, taken off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploys.layout import PROJECT_ROOT
from tests.support.lab.deploy import deploy
from tests.support.lab.spare import NODE, Spare

FAB = Path(sys.executable).with_name("fab")

CONTENT = b"only here"


def fab(spare: Spare, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [FAB, *words], cwd=PROJECT_ROOT, env=_environment(spare), capture_output=True, text=True
    )


def _environment(spare: Spare) -> dict[str, str]:
    return {
        **os.environ,
        "PORTSIDE_CLUSTER": str(spare.file),
        "PYTHONPATH": str(PROJECT_ROOT),
    }


def interrupted_at(spare: Spare, operation: str, *words: str) -> str:
    """Ctrl-C as soon as pyinfra has begun an operation; what was said after it."""
    with subprocess.Popen(
        [FAB, *words],
        cwd=PROJECT_ROOT,
        env=_environment(spare),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as running:
        assert running.stdout is not None
        assert any(operation in line for line in running.stdout)
        # As a terminal does: every process of the command hears of it.
        os.killpg(running.pid, signal.SIGINT)
        said = running.stdout.read()
        assert running.wait(120) == 130
    return said


def _clear(spare: Spare) -> None:
    """Delete what is stored on the node, page by page."""
    while True:
        page = json.loads(spare.host.check_output("portside-agent leaving --json"))
        if not page["files"]:
            return
        for file in page["files"]:
            spare.node.manage("DELETE", f"/api/v1/files/{file['file_id']}", "delete")


@pytest.mark.usefixtures("put_back")
def test_a_node_is_let_go_taken_off_and_made_anew_with_its_files(spare: Spare) -> None:
    host, node = spare.host, spare.node
    node.wait_until_ready()
    _clear(spare)
    stored = json.loads(node.put("only.bin", CONTENT).body)

    refused = fab(spare, "retire", NODE)
    assert refused.returncode == 1
    assert stored["path"] in refused.stderr and stored["sha256"] in refused.stderr
    assert "nowhere else" in refused.stderr
    assert fab(spare, "uninstall", NODE).returncode == 1
    assert node.is_ready()

    # Made anew, broken off in the middle: what is stored is served all the time.
    path = stored["direct_url"].removeprefix(f"https://{node.host}")
    said = interrupted_at(spare, "Take off | Control plane is gone", "reinstall", NODE)
    assert "its data is untouched" in said
    assert node.ask("GET", path).body == CONTENT
    made = fab(spare, "reinstall", NODE, "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["files"] >= 1
    assert node.ask("GET", path).body == CONTENT
    assert node.put("next.bin", CONTENT).status == 201

    # Nothing is lost with a node on which nothing is.
    _clear(spare)
    let_go = fab(spare, "retire", NODE)
    assert let_go.returncode == 0, let_go.stderr
    assert "Its line may leave" in let_go.stdout
    assert "it is retired" in deploy(spare.file).output

    taken_off = fab(spare, "uninstall", NODE, "--data-too")
    assert taken_off.returncode == 0, taken_off.stderr + taken_off.stdout
    left = "find / -xdev -name '*portside*' -not -path '/proc/*' -not -path '/var/log/*'"
    assert host.check_output(f"{left} -not -path '/tmp/*' -not -path '/run/*'") == ""
    assert host.check_output("systemctl list-units --all --no-legend 'portside*'") == ""
    assert host.run("getent passwd portside").rc != 0
    assert "portside" not in host.check_output("nft list tables")
    assert host.check_output("systemctl --failed --no-legend") == ""
    again = fab(spare, "uninstall", NODE, "--lost")
    assert again.returncode == 0, again.stderr
