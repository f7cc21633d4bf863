"""Two or more agents that know each other by a roster, with the workers that send copies."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import requests

from agent.index.database import Database
from portside.digest import format_repr_digest
from portside.tokens import SigningKey, mint_copy_order, mint_replicate, verify_receipt
from portside.wire.claims import CopyOrderClaims, ReplicateClaims
from portside.wire.files import StoredFile
from portside.wire.heartbeat import NodeState, Roster, RosterNode
from tests.support.agent.process import ISSUER, Agent
from tests.support.logs import text_of

PATIENCE = 60.0
"""Seconds for whatever nodes do by themselves: far more than it takes."""


def member(agent: Agent, url: str | None = None, state: NodeState = "active") -> RosterNode:
    """The agent as others know it, reached at `url` if not on its own port."""
    return RosterNode(
        node_id=agent.node_id,
        public_base_url=url or agent.url,
        upload_api_url=f"{url or agent.url}/api/internal/upload",
        state=state,
        key=agent.node_keys.keys[0],
    )


def introduce(*agents: Agent, nodes: tuple[RosterNode, ...] = (), **roster: Any) -> None:
    """Give each agent a roster of `nodes`, or else of them all."""
    found = Roster(
        version=time.time_ns(),
        cluster="lab",
        nodes=nodes or tuple(member(agent) for agent in agents),
        **roster,
    )
    for agent in agents:
        temporary = agent.home / "roster.new"
        temporary.write_text(found.model_dump_json())
        temporary.rename(agent.home / "roster.json")


def wait_until(condition: Callable[[], Any], *told: Agent) -> None:
    """Wait until something holds; if it never does, the agents' logs say more."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.02)
    logs = "\n".join(text_of(path) for agent in told for path in sorted(agent.home.glob("*.log")))
    raise AssertionError(f"not within {PATIENCE} s\n{logs}")


def rows(agent: Agent, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    """What an agent's index says."""
    database = Database(agent.root / "state" / "index.sqlite")
    try:
        return database.rows(query, parameters)
    finally:
        database.close()


def change(agent: Agent, statement: str, *parameters: object) -> None:
    """Change an agent's index, as time would."""
    database = Database(agent.root / "state" / "index.sqlite")
    try:
        with database.transaction() as connection:
            connection.execute(statement, parameters)
    finally:
        database.close()


def told(agent: Agent, file_id: str) -> dict[str, Any]:
    """The answer of `GET /api/v1/files/<id>`."""
    answer = requests.get(f"{agent.url}/api/v1/files/{file_id}", timeout=60)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def holds(agent: Agent, stored: StoredFile, content: bytes) -> bool:
    """Whether an agent has a committed copy with these bytes and its own receipt."""
    answer = requests.get(f"{agent.url}/api/v1/files/{stored.file_id}", timeout=60)
    if answer.status_code != 200:
        return False
    copy = StoredFile.model_validate_json(answer.content)
    receipt = verify_receipt(copy.receipt, agent.node_keys)
    same = {"file_id", "namespace", "owner", "name", "path", "size", "sha256", "content_type"}
    assert copy.model_dump(include=same) == stored.model_dump(include=same)
    assert copy.committed_at == stored.committed_at
    assert (copy.node_id, receipt.iss, receipt.sha256) == (
        agent.node_id,
        agent.node_id,
        stored.sha256,
    )
    return (agent.root / "uploads" / stored.path).read_bytes() == content


def order(claims: ReplicateClaims, issuer: SigningKey = ISSUER, **changed: Any) -> str:
    """The control plane's order for this copy, or for another one."""
    said = claims.model_dump(exclude={"jti", "committed_at"}) | {"iss": issuer.owner}
    return mint_copy_order(
        issuer, CopyOrderClaims.model_validate({**said, "sub": claims.iss, **changed})
    )


def order_of(stored: StoredFile, source: Agent, target: Agent) -> str:
    """The control plane's order that `source` brings `target` this file."""
    now = int(time.time())
    kept = stored.model_dump(include=set(CopyOrderClaims.model_fields))
    said = {"iss": ISSUER.owner, "aud": target.node_id, "sub": source.node_id}
    times = {"iat": now, "nbf": now, "exp": now + 900}
    return mint_copy_order(ISSUER, CopyOrderClaims.model_validate({**kept, **said, **times}))


class Source:
    """A node that pushes one file by hand, as tests want it: `target` knows its key."""

    def __init__(self, target: Agent, key: SigningKey, content: bytes, **changed: Any) -> None:
        self.target = target
        self.key = key
        self.content = content
        now = int(time.time())
        file_id = secrets.token_hex(16)
        claims: dict[str, Any] = {
            "iss": key.owner,
            "aud": target.node_id,
            "iat": now,
            "nbf": now,
            "exp": now + 900,
            "jti": secrets.token_hex(16),
            "file_id": file_id,
            "path": f"isos/{file_id}.bin",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "namespace": "isos",
            "owner": "user-7",
            "name": f"{file_id}.bin",
            "content_type": "application/octet-stream",
            "committed_at": datetime.now(UTC),
        }
        self.claims = ReplicateClaims.model_validate({**claims, **changed})

    @property
    def url(self) -> str:
        """Where the copy goes."""
        return f"{self.target.url}/api/internal/replicate/{quote(str(self.claims.path))}"

    def headers(self, **more: str) -> dict[str, str]:
        """The token, and what else a test sends; underscores stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return {
            "Authorization": f"Bearer {mint_replicate(self.key, self.claims)}",
            "Portside-Order": order(self.claims),
            **named,
        }

    def put(
        self, data: bytes | None = None, url: str | None = None, **headers: str
    ) -> requests.Response:
        """PUT the content, or `data` in its place."""
        digest = format_repr_digest(self.claims.sha256)
        return requests.put(
            url or self.url,
            data=self.content if data is None else data,
            headers=self.headers(**{"Repr_Digest": digest, **headers}),
            timeout=60,
        )

    def put_from(self, offset: int, data: bytes | None = None) -> requests.Response:
        """PUT the rest from `offset` on, or `data` in its place."""
        sent = self.content[offset:] if data is None else data
        span = f"bytes {offset}-{offset + len(sent) - 1}/{self.claims.size}"
        return self.put(sent, Content_Range=span)

    def head(self) -> Mapping[str, str]:
        """The headers that tell how far the push is."""
        answer = requests.head(self.url, headers=self.headers(), timeout=60)
        assert answer.status_code == 204, answer.status_code
        return answer.headers
