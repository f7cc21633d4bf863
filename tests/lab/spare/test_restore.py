"""The monthly drill and the real thing: a control plane that is lost comes back from a backup that
lies elsewhere, and a file that was stored since is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploys.layout import PROJECT_ROOT
from operate.backup import backing_up, restoring
from operate.site import Site
from operate.tell import Tell
from portside.cluster.file import CLUSTER_VARIABLE
from tests.support.lab.control_plane import SERVICES, TIMER, ControlPlane, wait_for
from tests.support.lab.deploy import deploy
from tests.support.lab.spare import NODE, Spare

LOST = (
    f"systemctl disable --quiet --now {' '.join(SERVICES)} {TIMER}; "
    "rm -rf /etc/systemd/system/portside-control* /opt/portside/control "
    "/var/lib/portside-control /var/backups/portside-control /etc/portside/control* "
    "/usr/local/libexec/portside-control-backup /var/lib/portside-deploy/restore "
    "/etc/portside/issuer.json /var/lib/portside-deploy/control*; systemctl daemon-reload"
)
"""Nothing of the control plane is left on the machine."""


@pytest.fixture
def site(
    spare: Spare, changed_cluster: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    """The machine as a storage node that is the control plane too; never before."""
    spare.host.run(LOST)
    path = changed_cluster(f"{NODE}: {{}}", f"{NODE}: {{roles: [storage, control]}}")
    run = deploy(path)
    assert run.succeeded, run.output
    monkeypatch.setenv(CLUSTER_VARIABLE, str(path))
    yield Site.at(PROJECT_ROOT)
    spare.host.run(LOST)


def _healthy(control: ControlPlane) -> bool | None:
    return ((node := control.nodes().get(NODE)) is not None and node.healthy) or None


@pytest.mark.usefixtures("put_back")
def test_a_lost_control_plane_comes_back_and_knows_what_was_stored_since(
    site: Site, spare: Spare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    host = spare.host
    key = host.check_output("portside-control app create shop --scope upload,read,delete,admin")
    control = ControlPlane(spare.node.host, spare.node.trust, key=key.strip(), port=8443)
    wait_for("the node is heard", 60, lambda: _healthy(control))
    backing_up.backup(site, str(tmp_path), Tell())
    [backup] = tmp_path.glob("*.tar")
    restoring.restore(site, str(backup), restoring.Wishes(drill=True), Tell())
    assert "was not touched" in capsys.readouterr().out

    session = control.session(owner="alice", name="since.bin", size=5)
    assert spare.node.put("since.bin", b"since", session.token).status == 201
    host.check_output(LOST)
    restoring.restore(site, str(backup), restoring.Wishes(), Tell())

    def known() -> bool | None:
        # With the app's key of the backup.
        answer = control.ask("GET", "/api/v1/files?namespace=lab&limit=1000")
        if answer.status != 200:
            return None
        return any(each["name"] == "since.bin" for each in json.loads(answer.body)["files"]) or None

    wait_for("the file is known again", 60, known)
    assert "nodes tell" in capsys.readouterr().out
    control.delete(session.file_id)
