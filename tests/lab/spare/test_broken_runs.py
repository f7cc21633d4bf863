"""Runs of the deploy that are killed or fail: the node serves on, and the next run heals it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from testinfra.host import Host

from deploys.rollout.takeover import NAME as TURN
from portside.operator import node_lock
from tests.support.lab.control_plane import wait_for
from tests.support.lab.deploy import copy_project, deploy, deploy_and_kill
from tests.support.lab.machine import nginx_workers, something_listens
from tests.support.lab.requests import Node
from tests.support.lab.spare import NODE, Spare

ORIGIN = "https://app.portside.test"


def _allowed_origin(node: Node, origin: str) -> str | None:
    answer = node.ask("GET", "/health/live", headers={"Origin": origin})
    return answer.headers["Access-Control-Allow-Origin"]


def _wait_until_over(host: Host) -> None:
    """Wait until nothing of a run that was killed is at work on the node."""
    # Its connection ends, and the lock with it. A reload that it has begun goes on without it.
    host.check_output(f"flock --timeout 60 {node_lock.FILE} true")
    reloads = "grep -qs '[g]oes on with its old configuration' /proc/[0-9]*/cmdline"
    wait_for("its last command ends", 60, lambda: host.run(reloads).rc or None)


@pytest.mark.usefixtures("put_back")
def test_a_run_killed_between_config_and_reload_is_finished_by_the_next(
    spare: Spare, changed_cluster: Callable[[str, str], Path]
) -> None:
    # The kill has to come before the next operation: on a busy computer not the first one does.
    for attempt in range(5):
        new = f"https://other-{attempt}.portside.test"
        changed = changed_cluster(ORIGIN, new)
        deploy_and_kill(changed, NODE, "nginx | nginx.conf")
        _wait_until_over(spare.host)
        assert spare.host.file("/etc/nginx/nginx.conf").contains(new)
        if _allowed_origin(spare.node, new) is None:
            break
    else:
        raise AssertionError("killed too late to tell anything")

    healing = deploy(changed)
    assert healing.hosts("success") == {TURN: [NODE], "nginx | nginx serves it": [NODE]}
    assert _allowed_origin(spare.node, new) == new


@pytest.mark.parametrize(
    ("template", "operation", "path"),
    [
        ("nginx/nginx.conf.j2", "nginx | nginx.conf", "/etc/nginx/nginx.conf"),
        (
            "nftables/firewall.nft.j2",
            "Firewall | Firewall rules, proven by a new login",
            "/etc/portside/firewall.nft",
        ),
        (
            "base/sshd.conf.j2",
            "SSH server | SSH server, proven by a new login",
            "/etc/ssh/sshd_config.d/40-portside.conf",
        ),
        ("agent/agent.toml.j2", "Agent | Settings", "/etc/portside/agent.toml"),
    ],
)
def test_a_broken_template_fails_the_run_and_the_old_file_goes_on(
    spare: Spare, tmp_path: Path, template: str, operation: str, path: str
) -> None:
    broken = copy_project(tmp_path)
    with (broken / "templates" / template).open("a") as file:
        file.write("nonsense;\n")
    host = spare.host
    before = host.file(path).sha256sum, nginx_workers(host)

    run = deploy(spare.file, project=broken)
    assert not run.succeeded
    assert run.failed_in == operation, run.output
    assert (host.file(path).sha256sum, nginx_workers(host)) == before
    assert not host.file(f"{Path(path).parent}/.candidate-{Path(path).name}").exists
    assert _allowed_origin(spare.node, ORIGIN) == ORIGIN


@pytest.mark.usefixtures("put_back")
def test_a_reload_that_nginx_did_not_take_fails_the_run(spare: Spare, tmp_path: Path) -> None:
    # `nginx -t` doesn't mind an address that is in use, and `reload` succeeds; the master then
    # logs it and keeps its old workers.
    project = copy_project(tmp_path)
    path = project / "templates" / "nginx" / "storage.conf.j2"
    path.write_text(
        path.read_text().replace("listen 443 ssl", "listen 8443;\n        listen 443 ssl")
    )
    with something_listens(spare.host, 8443):
        run = deploy(spare.file, project=project)
    assert not run.succeeded
    assert run.failed_in == "nginx | nginx serves it"
    assert "Address already in use" in run.output
