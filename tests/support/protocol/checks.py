"""What holds at the end of every upload, whoever sent it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import requests

from portside.tokens import verify_receipt
from portside.wire.files import StoredFile
from portside.wire.problem import REGISTERED_PREFIX
from tests.support.agent.process import Agent, slug_of
from tests.support.protocol.requests_by_hand import Talker

SETTLING_SECONDS = 60
"""A connection that was closed is noticed by the agent a moment later."""


def heard(response: requests.Response) -> tuple[int, str]:
    """Status and slug of a refusal."""
    return response.status_code, slug_of(response)


def heard_in_the_draft(response: requests.Response) -> tuple[int, str]:
    """Status and registered name of a refusal that the IETF's draft has a type for."""
    assert response.headers["Upload-Complete"] == "?0"
    type_ = slug_of(response)
    assert type_.startswith(REGISTERED_PREFIX), type_
    return response.status_code, type_.removeprefix(REGISTERED_PREFIX)


def files_of(talker: Talker) -> list[Path]:
    """The visible files in the namespace of the talker's token."""
    folder = talker.agent.root / "uploads" / talker.claims.namespace
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in found if not path.name.endswith(".attr.json")]


def check_stored(talker: Talker, answer: str | bytes, content: bytes) -> StoredFile:
    """The answer tells of a file that is on disk as sent, once, with a receipt that holds."""
    stored = StoredFile.model_validate_json(answer)
    assert files_of(talker) == [talker.agent.root / "uploads" / stored.path]
    assert files_of(talker)[0].read_bytes() == content
    receipt = verify_receipt(stored.receipt, talker.agent.node_keys)
    assert receipt.jti == talker.claims.jti
    assert receipt.file_id == stored.file_id == talker.claims.file_id
    assert receipt.path == stored.path
    assert receipt.size == stored.size == len(content)
    assert receipt.sha256 == stored.sha256 == hashlib.sha256(content).hexdigest()
    return stored


def check_nothing_left_behind(agent: Agent) -> None:
    """Nothing in staging, no attributes without their file, everything reserved is given back."""
    deadline = time.monotonic() + SETTLING_SECONDS
    while True:
        status = agent.status()
        held = (
            agent.leftovers(),
            status["slots"]["used"],
            status["memory"]["reserved"],
            status["disk"]["reserved"],
        )
        if held == ([], 0, 0, 0) or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    assert held == ([], 0, 0, 0), f"left behind: staging, slots, memory, disk {held}"
