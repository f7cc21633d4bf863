"""Owners have what they may have on real nodes, also across crashes."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from testinfra.host import Host

from portside.quantities import GIB, MIB
from portside.wire.files import OwnerUsage
from tests.support.lab.requests import Node, read_answer

AGENT = "portside-agent.service"
QUOTA = {"bytes": 10 * MIB, "files": 3}


def _usage(node: Node, token: str) -> OwnerUsage:
    answer = node.ask("GET", "/api/v1/usage", headers={"Authorization": f"Bearer {token}"})
    assert answer.status == 200, answer.body
    return OwnerUsage.model_validate_json(answer.body)


def test_a_tokens_quota_is_held_to_before_the_body_and_across_a_crash(
    talk: Mapping[str, Node], nodes: Mapping[str, Host]
) -> None:
    node, host = talk["s03"], nodes["s03"]
    owner = f"owner-{secrets.token_hex(4)}"

    def token(**changed: Any) -> str:
        return node.mint(**{"sub": owner, "quota": QUOTA, **changed})

    first = node.put("first.bin", bytes(6 * MIB), token())
    assert first.status == 201, first.body
    with node.open_put("b.bin", 1 * GIB, token()) as connection:
        refused = read_answer(connection)
    assert (refused.status, refused.slug) == (413, "over-quota")
    assert f"{owner} may have 10.0 MiB in all on this node" in refused.body.decode()

    begun = token(name="c.bin")
    tus = {"Tus-Resumable": "1.0.0", "Authorization": f"Bearer {begun}"}
    created = node.ask("POST", "/api/v1/uploads", headers={**tus, "Upload-Length": str(4 * MIB)})
    assert created.status == 201, created.body
    place = f"/api/v1/uploads/{created.headers['Location'].rpartition('/')[2]}"
    assert node.put("d.bin", b"d", token()).slug == "over-quota"

    host.check_output(f"systemctl kill --kill-whom=all -s KILL {AGENT}")
    node.wait_until_ready()
    told = _usage(node, begun)
    assert (told.files, told.bytes, told.uploading.bytes) == (2, 10 * MIB, 4 * MIB)
    assert node.put("d.bin", b"d", token()).slug == "over-quota"
    appended = node.ask(
        "PATCH",
        place,
        bytes(4 * MIB),
        {**tus, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"},
    )
    assert appended.status == 204, appended.body

    file_id = json.loads(first.body)["file_id"]
    assert node.manage("DELETE", f"/api/v1/files/{file_id}", "delete").status == 204
    told = _usage(node, begun)
    assert (told.files, told.bytes, told.stored.bytes) == (1, 4 * MIB, 4 * MIB)
    assert node.put("e.bin", bytes(6 * MIB), token()).status == 201
