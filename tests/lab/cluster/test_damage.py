"""A file that its disk damages: what reads it to copy it finds that, and says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus

import pytest
from testinfra.host import Host

from portside.quantities import MIB
from tests.support.lab.control_plane import wait_for
from tests.support.lab.requests import Answer, Node

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
    content = bytearray(os.urandom(5 * MIB))
    content[3_000_000] = ord("Y")
    stored = node.put("damaged.bin", bytes(content))
    file = json.loads(stored.body)
    path = f"/srv/portside/uploads/{file['path']}"
    host.check_output(f"printf 'X' | dd of='{path}' bs=1 seek=3000000 conv=notrunc status=none")
    host.check_output(f"systemctl start {WORKER}")

    def gone() -> Answer | None:
        answer = node.ask("GET", f"/api/v1/files/{file['file_id']}")
        return answer if answer.status == HTTPStatus.GONE else None

    assert wait_for("the file is out of service", 180, gone).slug == "file-damaged"
    # Others may have a good copy.
    assert node.ask("GET", f"/uploads/{file['path']}").status == HTTPStatus.FOUND
    assert host.file(f"/srv/portside/quarantine/{file['file_id']}.data").size == 5 * MIB
    # The worker tells of it in its next report, which /health/ready and /metrics show.
    wait_for(
        "the node says so", 120, lambda: b"files-damaged" in node.ask("GET", "/health/ready").body
    )
    found = re.compile(r"^portside_damaged_files_total [1-9]", re.MULTILINE)
    wait_for("the metric counts it", 120, lambda: found.search(host.check_output(METRICS)))
