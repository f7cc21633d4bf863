"""A host is looked at before anything on it is changed, and all that is wrong is told at once."""

from __future__ import annotations

from pathlib import Path

from tests.support.lab.deploy import deploy
from tests.support.lab.machine import something_listens
from tests.support.lab.spare import NODE, Spare


def test_every_problem_of_a_host_is_told_and_nothing_is_changed(
    spare: Spare, tmp_path: Path
) -> None:
    host = spare.host
    cluster = tmp_path / "spare.yaml"
    cluster.write_text(spare.file.read_text().replace("root: /srv/portside", "root: /srv/others"))
    before = host.check_output("sha256sum < /etc/portside/agent.toml")
    host.check_output("mkdir -p /srv/others/photos && systemctl stop nginx")
    try:
        with something_listens(host, 80):
            run = deploy(cluster)
    finally:
        host.check_output("systemctl start nginx; rm -r /srv/others/photos /srv/others")
    assert not run.succeeded
    assert f"{NODE}: before anything was changed: 2 things to mend first" in run.output
    assert "port 80 is held by python3 (lab-listener.service): stop it" in run.output
    assert "/srv/others holds photos, nothing of Portside's" in run.output
    assert host.check_output("sha256sum < /etc/portside/agent.toml") == before
