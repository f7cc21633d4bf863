"""Changes that would lock everybody out: the node is reachable again, whoever undoes them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.lab.deploy import copy_project, deploy
from tests.support.lab.spare import NODE, Spare
from tests.support.lab.ssh import logged_in

FIREWALL = "Firewall | Firewall rules, proven by a new login"
SSH_SERVER = "SSH server | SSH server, proven by a new login"


def _replace(project: Path, file: str, old: str, new: str) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _reachable() -> bool:
    with logged_in([NODE]) as hosts:
        return bool(hosts[NODE].run("true").rc == 0)


@pytest.mark.parametrize(
    # `alone`: whether the node has only its timer, or the operator's side still gets there too.
    ("template", "old", "new", "operation", "path", "alone"),
    [
        (
            "nftables/firewall.nft.j2",
            "tcp dport { {{ ports | join(', ') }} }",
            "tcp dport { 2222 }",
            FIREWALL,
            "/etc/portside/firewall.nft",
            True,
        ),
        (
            "base/sshd.conf.j2",
            "LoginGraceTime 30",
            "AllowUsers nobody",
            SSH_SERVER,
            "/etc/ssh/sshd_config.d/40-portside.conf",
            False,
        ),
    ],
    ids=["firewall", "ssh"],
)
def test_a_change_that_locks_out_is_undone(
    spare: Spare,
    tmp_path: Path,
    template: str,
    old: str,
    new: str,
    operation: str,
    path: str,
    alone: bool,
) -> None:
    project = copy_project(tmp_path)
    _replace(project, f"templates/{template}", old, new)
    guard = "deploys/operations/guarded.py"
    _replace(project, guard, "PROVEN_WITHIN = 40", "PROVEN_WITHIN = 4")
    _replace(project, guard, "UNDONE_AFTER = 60", "UNDONE_AFTER = 15")
    if alone:
        _replace(project, guard, "    _undo_now(host, subject)\n", "")
    before = spare.host.file(path).sha256sum

    run = deploy(spare.file, project=project)
    assert not run.succeeded
    assert run.failed_in == operation, run.output
    assert "no new login came through after the change" in run.output

    # This connection is older than the change. What was saved goes last, once all is as before.
    deadline = time.monotonic() + 60
    while spare.host.check_output("ls /var/lib/portside-deploy/guarded") != "":
        assert alone
        assert time.monotonic() < deadline
        time.sleep(1)
    assert spare.host.file(path).sha256sum == before
    assert _reachable()
    again = deploy(spare.file)
    assert again.succeeded, again.output
    assert again.hosts("success") == {}
