"""Folders of other systems, and runs of `portside-agent adopt` over them."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portside.tokens import SigningKey, mint_adoption
from portside.wire.claims import AdoptionClaims
from tests.support.agent.process import Agent

NAMESPACE, OWNER = "old", "alice"


def order_claims(issuer: str, node_id: str, **changed: Any) -> AdoptionClaims:
    """An order for an hour."""
    now = int(time.time())
    return AdoptionClaims.model_validate(
        {
            "iss": issuer,
            "aud": node_id,
            "jti": secrets.token_hex(16),
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "namespace": NAMESPACE,
            "owner": OWNER,
            **changed,
        }
    )


def order(agent: Agent, key: SigningKey | None = None, **changed: Any) -> Path:
    """An order for this node in a file of 0600."""
    signer = key or agent.issuer
    path = agent.home / f"order-{secrets.token_hex(4)}"
    path.touch(0o600)
    path.write_text(mint_adoption(signer, order_claims(signer.owner, agent.node_id, **changed)))
    return path


@dataclass(frozen=True, slots=True)
class Adopted:
    """What a run said, file by file and in all."""

    code: int
    err: str
    files: dict[str, dict[str, Any]]
    summary: dict[str, Any]

    def why(self, source: str) -> str:
        """Why a file was left."""
        assert self.files[source]["result"] == "left", self.files[source]
        return str(self.files[source]["why"])


def adopt(agent: Agent, folder: Path, *options: str, by: Path | None = None) -> Adopted:
    """Adopt a folder, by a new order unless one is given."""
    arguments = arguments_for(agent, folder, *options, by=by)
    done = agent.command(*arguments, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop()["summary"] if lines else {}
    files = {line["source"]: line for line in lines}
    assert len(files) == len(lines), "two lines of one file"
    return Adopted(done.returncode, done.stderr, files, summary)


def arguments_for(
    agent: Agent, folder: Path, *options: str, by: Path | None = None
) -> tuple[str, ...]:
    """The command's arguments."""
    ordered = () if "--dry-run" in options else ("--order", str(by or order(agent)))
    whose = ("--namespace", NAMESPACE, "--owner", OWNER)
    return ("adopt", str(folder), *whose, *ordered, *options)
