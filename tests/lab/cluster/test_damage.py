"""A file that its disk damages: what reads it to copy it finds that, and says so."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from portside.quantities import MIB
from tests.support.lab.requests import Node

WORKER = "portside-agent-worker.service"
METRICS = (
    "/opt/portside/current/venv/bin/python -I -c '"
    "import ssl, urllib.request as request; context = ssl._create_unverified_context(); "
    'print(request.urlopen("https://127.0.0.1/metrics", context=context).read().decode())\''
)
"""Asked from the node itself: to others they don't show."""


@pytest.mark.usefixtures("at_rest")
def test_a_flipped_bit_is_found_quarantined_and_reported(
    talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    node, host = talk["s02"], nodes["s02"]
    host.check_output(f"systemctl stop {WORKER}")
    stored = node.put("damaged.bin", os.urandom(5 * MIB))
    file = json.loads(stored.body)
    path = f"/srv/portside/uploads/{file['path']}"
    host.check_output(f"printf 'X' | dd of='{path}' bs=1 seek=3000000 conv=notrunc status=none")
    host.check_output(f"systemctl start {WORKER}")
    for _ in range(360):
        if node.ask("GET", f"/api/v1/files/{file['file_id']}").status == 410:
            break
        time.sleep(0.5)
    gone = node.ask("GET", f"/api/v1/files/{file['file_id']}")
    assert (gone.status, gone.slug) == (410, "file-damaged")
    assert node.ask("GET", f"/uploads/{file['path']}").status == 404
    assert host.file(f"/srv/portside/quarantine/{file['file_id']}.data").size == 5 * MIB
    # The worker tells of it in its next report, which /metrics and /health/ready show.
    found = re.compile(r"^portside_damaged_files_total [1-9]", re.MULTILINE)
    for _ in range(240):
        if found.search(host.check_output(METRICS)):
            break
        time.sleep(0.5)
    assert found.search(host.check_output(METRICS))
    assert "damage" in node.ask("GET", "/health/ready").body.decode()
