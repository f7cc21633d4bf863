"""Asking an agent about files it holds, with tokens of the test's own making."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests

from portside.names import ATTRIBUTES_SUFFIX
from portside.tokens import mint_access, mint_download
from portside.wire.files import StoredFile
from tests.support.agent.process import Agent
from tests.support.minting import access_claims, download_claims

FILES = "/api/v1/files"
ALL_RIGHTS = ("list", "read", "verify", "delete")


def bearer(token: str) -> dict[str, str]:
    """The header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


def access(agent: Agent, **changed: Any) -> dict[str, str]:
    """A header with an access token that gives every right to every file, unless changed."""
    claims = access_claims("lab", agent.node_id, {"rights": ALL_RIGHTS, **changed})
    return bearer(mint_access(agent.issuer, claims))


def download(agent: Agent, path: object, **changed: Any) -> str:
    """A download token for a path."""
    claims = download_claims("lab", agent.node_id, {"path": str(path), **changed})
    return mint_download(agent.issuer, claims)


def ask(
    agent: Agent, method: str, path: str, headers: dict[str, str] | None = None
) -> requests.Response:
    """One request to the agent itself; `path` begins behind `/api/v1/files`."""
    return requests.request(method, agent.url + FILES + path, headers=headers, timeout=60)


def stored(agent: Agent, name: str, data: bytes, **claims: Any) -> StoredFile:
    """Upload a file; the agent's answer."""
    answer = agent.put(name, data, agent.mint(**claims))
    assert answer.status_code == 201, answer.text
    return StoredFile.model_validate(answer.json())


def data_of(agent: Agent, file: StoredFile) -> Path:
    """Where the file's data lies while it is in service."""
    return agent.root / "uploads" / file.path


def attributes_of(agent: Agent, file: StoredFile) -> Path:
    """Where its attributes lie."""
    data = data_of(agent, file)
    return data.with_name(data.name + ATTRIBUTES_SUFFIX)


def is_open(pid: int, path: Path) -> bool:
    """Whether a process has the file open."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if link.readlink() == path:
                return True
        except FileNotFoundError:
            # Closed since it was listed.
            continue
    return False


def flip_a_bit(path: Path) -> None:
    """Damage a file behind the filesystem's back, its size and place unchanged."""
    with path.open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))
