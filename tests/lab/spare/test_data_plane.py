"""The data plane on a real node: uploads that survive what happens to them, private files.

Everything here goes through the node's real nginx, TLS, systemd units and their sandbox.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.quantities import MIB
from portside.tokens import mint_download
from portside.wire.claims import DownloadClaims
from tests.support.lab.places import ISO
from tests.support.lab.requests import Node
from tests.support.lab.spare import NODE, Spare

AGENT = "portside-agent.service"
UPLOADS = "/api/v1/uploads"
PORTSIDE = str(Path(sys.executable).with_name("portside"))


def _put(spare: Spare, file: Path, state: Path, *options: str) -> subprocess.Popen[str]:
    where = ("--cluster", str(spare.file), "--node", NODE, "--namespace", "lab")
    return subprocess.Popen(
        [PORTSIDE, "put", "--json", str(file), *where, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=PROJECT_ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(state)},
    )


def _said(put: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = put.communicate(timeout=300)
    assert put.returncode == 0, err
    return dict(json.loads(out))


def _wait_for_bytes(host: Host, least: int) -> None:
    """Wait until staging holds an upload that has come this far."""
    for _ in range(1200):
        sizes = host.check_output("find /srv/portside/staging -name '*.part' -printf '%s\\n'")
        if any(int(size) >= least for size in sizes.split()):
            return
        time.sleep(0.05)
    raise AssertionError(f"no upload of {least} bytes in staging: {sizes!r}")


def _comes_out(node: Node, stored: Mapping[str, Any]) -> None:
    """It is served byte for byte as it was said to be stored."""
    served = node.download_digest(f"/uploads/{stored['path']}")
    assert served == (stored["size"], stored["sha256"])


def test_an_upload_goes_on_after_the_agent_was_killed_and_after_the_client_was(
    spare: Spare, tmp_path: Path, iso_sha256: str
) -> None:
    node, host = spare.node, spare.host
    first = _put(spare, ISO, tmp_path)
    _wait_for_bytes(host, 100 * MIB)
    host.check_output(f"systemctl kill --kill-whom=all -s KILL {AGENT}")
    _wait_for_bytes(host, 400 * MIB)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    # It may have come this far before its agent was killed.
    node.wait_until_ready()
    second = _put(spare, ISO, tmp_path)
    said = _said(second)
    assert said["sha256"] == iso_sha256
    _comes_out(node, said)
    assert host.file("/srv/portside/staging").listdir() == []
    _remove(node, said)


def test_parts_side_by_side_become_one_file(spare: Spare, tmp_path: Path) -> None:
    content = os.urandom(200 * MIB)
    file = tmp_path / "parts.bin"
    file.write_bytes(content)
    said = _said(_put(spare, file, tmp_path, "--parallel", "4"))
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    _comes_out(spare.node, said)
    _remove(spare.node, said)


def test_a_wrong_offset_is_told_the_right_one_before_its_body(spare: Spare) -> None:
    node = spare.node
    token = node.mint(name="a.bin")
    sent = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {token}"}
    created = node.ask("POST", UPLOADS, headers={**sent, "Upload-Length": "1000"})
    assert created.status == 201
    place = str(created.headers["Location"]).removeprefix(f"https://{node.host}")
    appending = {**sent, "Content-Type": "application/offset+octet-stream"}
    refused = node.ask("PATCH", place, bytes(10), {**appending, "Upload-Offset": "7"})
    assert (refused.status, refused.slug) == (409, "offset-mismatch")
    assert refused.headers["Upload-Offset"] == "0"
    assert refused.headers["Tus-Resumable"] == "1.0.0"
    assert node.ask("DELETE", place, headers=sent).status == 204


def test_a_private_file_is_for_holders_of_a_token(spare: Spare) -> None:
    node = spare.node
    stored = node.put("secret.bin", b"secret", node.mint(namespace="private"))
    assert stored.status == 201, stored.body
    path = json.loads(stored.body)["path"]
    assert node.ask("GET", f"/uploads/{path}").status == 401
    token = _download_token(node, path)
    allowed = node.ask("GET", f"/uploads/{path}?token={token}", headers={"Range": "bytes=1-2"})
    assert (allowed.status, allowed.body) == (206, b"ec")
    elsewhere = _download_token(node, path + "x")
    assert node.ask("GET", f"/uploads/{path}?token={elsewhere}").status == 403


def test_the_nodes_own_figures_are_for_its_operators(spare: Spare) -> None:
    assert spare.node.ask("GET", "/metrics").status == 404


def test_fsck_finds_nothing_to_mend_on_a_node_that_works(spare: Spare) -> None:
    checked = spare.host.run("/opt/portside/current/venv/bin/portside-agent fsck --json")
    assert checked.rc == 0, checked.stdout


def test_a_deleted_file_is_gone_and_its_space_is_back(spare: Spare) -> None:
    node = spare.node
    stored = node.put("deleted.bin", bytes(20 * MIB))
    file = json.loads(stored.body)
    refused = node.manage("DELETE", f"/api/v1/files/{file['file_id']}", "read")
    assert (refused.status, refused.slug) == (403, "right-missing")
    _remove(node, file)
    assert node.ask("GET", f"/uploads/{file['path']}").status == 410
    assert not spare.host.file(f"/srv/portside/uploads/{file['path']}").exists


def _download_token(node: Node, path: str) -> str:
    now = int(time.time())
    claims = DownloadClaims(
        iss=node.issuer.owner, aud=node.node_id, iat=now, nbf=now, exp=now + 60, path=path
    )
    return mint_download(node.issuer, claims)


def _remove(node: Node, stored: Mapping[str, Any]) -> None:
    deleted = node.manage("DELETE", f"/api/v1/files/{stored['file_id']}", "delete")
    assert deleted.status == 204, deleted.body
