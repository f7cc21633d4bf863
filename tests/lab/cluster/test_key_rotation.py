"""Every key of the cluster is replaced, and whoever uploads meanwhile notices nothing of it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
from pathlib import Path

from deploys.layout import PROJECT_ROOT
from portside.client import UploadClient
from portside.cluster.file import CLUSTER_VARIABLE, Cluster
from portside.operator.keystore import Keystore
from portside.tokens import key_id
from tests.support.lab.control_plane import ControlPlane, wait_for
from tests.support.lab.places import LAB

SIZE = 300_000


def test_no_upload_fails_while_every_key_is_replaced(
    cluster: Cluster, control: ControlPlane, tmp_path: Path
) -> None:
    keystore = Keystore.for_cluster(cluster, PROJECT_ROOT)
    issuer, nodes = keystore.issuer_key().kid, keystore.node_keys()
    file = tmp_path / "x.bin"
    file.write_bytes(os.urandom(SIZE))
    signed: set[str] = set()
    failed: list[str] = []
    stopping = threading.Event()

    def upload() -> None:
        while not stopping.wait(0.2):
            try:
                session = control.session(name=f"{secrets.token_hex(6)}.bin", size=SIZE)
                base = str(session.upload_url).partition("/api/")[0]
                stored = UploadClient(base, keystore.ca_certificate()).put(file, session.token)
                signed.update((key_id(session.token), key_id(stored.receipt)))
            except Exception as error:
                failed.append(repr(error))

    uploads = threading.Thread(target=upload)
    uploads.start()
    try:
        wait_for("an upload before", 60, lambda: (signed or failed) or None)
        done = subprocess.run(
            [Path(sys.executable).with_name("fab"), "rotate-keys"],
            cwd=PROJECT_ROOT,
            env={**os.environ, CLUSTER_VARIABLE: str(LAB)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        now = keystore.issuer_key().kid
        wait_for("an upload after it", 60, lambda: now in signed or bool(failed) or None)
    finally:
        stopping.set()
        uploads.join()
    assert failed == []
    assert {issuer, now} <= signed
    after = keystore.node_keys()
    assert all(after[node_id].kid != key.kid for node_id, key in nodes.items())
    control.wait_until_healthy()
