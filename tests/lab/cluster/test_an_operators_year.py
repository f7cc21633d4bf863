"""A year in short: what befalls a cluster, and that every acknowledged file outlives all of it.

The long form, from bare machines to the last one's leaving, is `make year`.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import CLUSTER_VARIABLE
from portside.wire.control import FileView
from tests.support.lab.control_plane import ControlPlane, wait_for
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node
from tests.support.lab.verbs import FAB, done, fab

FILES = 6
NAMESPACE = "year"
OLD = "/srv/portside/old"
"""A folder from before Portside, on the node's data disk."""


def _stored(control: ControlPlane, talk: Mapping[str, Node], number: int) -> tuple[str, str]:
    """A file that was acknowledged: its id and its digest."""
    content = os.urandom(200_000 + number)
    name = f"{number}.bin"
    session = control.session(name=name, size=len(content), namespace=NAMESPACE)
    answer = talk[session.node_id].put(name, content, session.token)
    assert answer.status == 201, answer.body
    return session.file_id, hashlib.sha256(content).hexdigest()


def _all_safe(control: ControlPlane, file_ids: list[str]) -> list[FileView]:
    def safe() -> list[FileView] | None:
        views = [control.file(each) for each in file_ids]
        return views if all(each.state == "safe" for each in views) else None

    return wait_for("every file has its copies", 180, safe)


def _begin_to_drain_and_interrupt(node_id: str) -> None:
    with subprocess.Popen(
        [str(FAB), "drain", node_id, "--watch"],
        cwd=PROJECT_ROOT,
        env={**os.environ, CLUSTER_VARIABLE: str(LAB)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == f"{node_id}: draining\n"
        running.send_signal(signal.SIGINT)
        _, err = running.communicate(timeout=60)
    # It may have been drained already: there was little on it.
    assert running.returncode in (0, 130), err


def test_every_acknowledged_file_outlives_what_befalls_the_cluster(
    control: ControlPlane,
    nodes: Mapping[str, Host],
    talk: Mapping[str, Node],
    tmp_path: Path,
) -> None:
    control.wait_until_healthy()
    acknowledged = dict(_stored(control, talk, number) for number in range(FILES))
    try:
        _drained_and_taken_back(control)
        _backed_up_and_tried(tmp_path)
        acknowledged |= _adopted(control, nodes["s01"])
        _all_safe(control, list(acknowledged))
        exported = _exported(tmp_path / "out")
        # What an earlier run that broke off left behind comes out too.
        assert acknowledged.items() <= exported.items()
    finally:
        for file_id in acknowledged:
            control.delete(file_id)


def _drained_and_taken_back(control: ControlPlane) -> None:
    refused = fab(LAB, "retire", "s03")
    assert refused.returncode == 1, refused.stdout
    try:
        _begin_to_drain_and_interrupt("s03")
        assert "drained: may be retired" in done(LAB, "drain", "s03", "--watch")
        assert "s03" in done(LAB, "retire", "s03", "--dry")
        assert control.states()["s03"][0] == "draining"
    finally:
        done(LAB, "undrain", "s03")
    control.wait_until_healthy()


def _backed_up_and_tried(folder: Path) -> None:
    done(LAB, "backup", "--to", str(folder))
    [backup] = folder.glob("*.tar")
    done(LAB, "backup", "--verify", str(backup))
    assert "was not touched" in done(LAB, "restore", str(backup), "--drill")


def _adopted(control: ControlPlane, host: Host) -> dict[str, str]:
    """Files that were there before Portside, hostile names among them: ids and digests."""
    host.check_output(f"rm -rf {OLD}; mkdir -p {OLD}/below")
    names = ["plain.bin", "below/with space.bin", "below/ünï.bin"]
    # What an earlier run adopted is stored already.
    contents = {name: f"{name} {secrets.token_hex(8)}" for name in names}
    for name, content in contents.items():
        host.check_output(f"echo {shlex.quote(content)} > {shlex.quote(f'{OLD}/{name}')}")
    host.check_output(f"ln -s /etc/passwd {OLD}/link.bin")
    words = ("adopt", "s01", "--folder", OLD, "--namespace", NAMESPACE, "--owner", "user-7")
    ran = fab(LAB, *words, "--json")
    told = json.loads(ran.stdout)
    # What it leaves is named, and no success.
    assert (ran.returncode, told["adopted"]) == (1, len(names)), ran.stderr
    assert [each["source"] for each in told["left"]] == ["link.bin"]
    host.check_output(f"rm -rf {OLD}")
    digests = {hashlib.sha256(f"{each}\n".encode()).hexdigest() for each in contents.values()}

    def known() -> dict[str, str] | None:
        answer = control.ask("GET", f"/api/v1/files?namespace={NAMESPACE}&limit=1000")
        found = {
            each["file_id"]: each["sha256"]
            for each in json.loads(answer.body)["files"]
            if each["sha256"] in digests and each["state"] != "deleted"
        }
        return found if len(found) == len(names) else None

    return wait_for(f"the control plane knows what was adopted: {told}", 120, known)


def _exported(folder: Path) -> dict[str, str]:
    """What came out, read from the disk: ids and digests."""
    done(LAB, "export", "--folder", str(folder), "--namespace", NAMESPACE)
    checked = ["sha256sum", "--quiet", "--check", "SHA256SUMS"]
    subprocess.run(checked, cwd=folder, check=True)
    lines = (folder / "manifest.jsonl").read_text().splitlines()
    told = [json.loads(line) for line in lines]
    return {each["file_id"]: each["sha256"] for each in told}
