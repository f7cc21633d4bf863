"""Reading a stored file again: what is damaged is found and never served again."""

from __future__ import annotations

import secrets
import socket
from datetime import UTC, datetime, timedelta

import pytest

from portside.wire.files import StoredFile, Verification
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import (
    FILES,
    access,
    ask,
    attributes_of,
    data_of,
    flip_a_bit,
    is_open,
    stored,
)
from tests.support.logs import text_of
from tests.support.loopback import wait_until


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("size", [0, 1, 4096, 3 * 1024 * 1024, 3 * 1024 * 1024 + 11])
def test_an_intact_file_is_verified(shared_agent: Agent, size: int, method: str) -> None:
    file = stored(shared_agent, "a.bin", secrets.token_bytes(size))
    answer = ask(shared_agent, method, f"/{file.file_id}/verify", access(shared_agent))
    found = Verification.model_validate(answer.json())
    assert (found.intact, found.sha256, found.expected) == (True, file.sha256, file.sha256)
    assert (found.file_id, found.bytes) == (file.file_id, size)
    assert abs(datetime.now(UTC) - found.verified_at) < timedelta(minutes=1)
    assert answer.headers["Cache-Control"] == "private, no-store"


def test_a_flipped_bit_is_found_and_the_file_never_served_again(shared_agent: Agent) -> None:
    file = stored(shared_agent, "a.bin", b"0123456789", layout="named", namespace="verified")
    flip_a_bit(data_of(shared_agent, file))
    answer = ask(shared_agent, "POST", f"/{file.file_id}/verify", access(shared_agent))
    found = Verification.model_validate(answer.json())
    assert (found.intact, found.expected, found.bytes) == (False, file.sha256, 10)
    assert found.sha256 not in (None, file.sha256)
    for method, path in (("GET", ""), ("GET", "/content"), ("POST", "/verify")):
        after = ask(shared_agent, method, f"/{file.file_id}{path}", access(shared_agent))
        assert (after.status_code, slug_of(after)) == (410, "file-damaged")
    assert not data_of(shared_agent, file).exists()
    assert not attributes_of(shared_agent, file).exists()
    listed = ask(shared_agent, "GET", "?namespace=verified", access(shared_agent))
    assert listed.json() == {"files": [], "next": None}
    kept = shared_agent.root / "quarantine" / f"{file.file_id}.data"
    assert kept.read_bytes() == b"1123456789"
    assert f'"file_id": "{file.file_id}"' in text_of(shared_agent.log)


def test_a_file_that_lost_its_end_or_its_data_is_found(shared_agent: Agent) -> None:
    short, gone = (stored(shared_agent, "a.bin", b"0123456789") for _ in range(2))
    data_of(shared_agent, short).write_bytes(b"012345678")
    data_of(shared_agent, gone).unlink()
    for file, size in ((short, 9), (gone, 0)):
        answer = ask(shared_agent, "POST", f"/{file.file_id}/verify", access(shared_agent))
        found = Verification.model_validate(answer.json())
        assert (found.intact, found.bytes) == (False, size)
        assert (found.sha256 is None) is (file is gone)
        assert ask(shared_agent, "GET", f"/{file.file_id}").status_code == 410


def _sparse(agent: Agent, file: StoredFile, size: int) -> None:
    """Make the data so long that reading it takes a while; it costs no disk."""
    with data_of(agent, file).open("r+b") as data:
        data.truncate(size)


def test_one_verification_at_a_time_and_none_for_who_has_left(agent: Agent) -> None:
    long, other = (stored(agent, "a.bin", b"x") for _ in range(2))
    _sparse(agent, long, 200 << 30)
    headers = access(agent)
    head = (
        f"POST {FILES}/{long.file_id}/verify HTTP/1.1\r\nHost: agent\r\n"
        f"Authorization: {headers['Authorization']}\r\n\r\n"
    )
    asking = socket.create_connection(("127.0.0.1", agent.port), timeout=60)
    asking.sendall(head.encode())
    wait_until(lambda: is_open(agent.worker_pid(), data_of(agent, long)))
    busy = ask(agent, "POST", f"/{other.file_id}/verify", headers)
    assert (busy.status_code, slug_of(busy)) == (503, "no-slot")
    assert int(busy.headers["Retry-After"]) > 0
    asking.close()
    wait_until(lambda: ask(agent, "POST", f"/{other.file_id}/verify", headers).status_code == 200)
    assert not is_open(agent.worker_pid(), data_of(agent, long))
    # Broken off is not damaged.
    assert ask(agent, "GET", f"/{long.file_id}").status_code == 200
