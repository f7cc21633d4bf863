"""Nodes for tests of the control plane: keys of their own, and what they would send."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any

from control.cluster import rosters
from control.db.database import Database
from control.settings import Settings
from control.settings import load as load_settings
from portside.quantities import GIB
from portside.tokens import (
    HEARTBEAT_AUDIENCE,
    RECEIPT_AUDIENCE,
    SigningKey,
    mint_heartbeat,
    mint_receipt,
)
from portside.wire.base import Message
from portside.wire.claims import HeartbeatClaims, ReceiptClaims
from portside.wire.control import Session
from portside.wire.heartbeat import Heartbeat, Roster, RosterNode, WorkDone
from portside.wire.keys import Keyset

ISSUER = "lab"
NODES = ("s01", "s02", "s03")


class FakeNodes:
    """Keys of storage nodes, and what they sign. Nothing of a node runs."""

    def __init__(self, names: Sequence[str] = NODES) -> None:
        self.keys = {name: SigningKey.generate(name) for name in names}

    def roster(
        self, version: int = 1, facts: Mapping[str, Mapping[str, Any]] | None = None
    ) -> Roster:
        """As a deploy would write it; `facts` of a node by its name."""
        return Roster(
            version=version,
            cluster="lab",
            factor=1,
            nodes=tuple(
                RosterNode.model_validate(
                    {
                        "node_id": name,
                        "public_base_url": f"https://{name}.portside.test",
                        "upload_api_url": f"https://{name}.portside.test/api/internal/upload",
                        "key": key.public(),
                        **(facts or {}).get(name, {}),
                    }
                )
                for name, key in self.keys.items()
            ),
        )

    def heartbeat(self, node_id: str, sent_at: datetime, **changed: Any) -> Heartbeat:
        """A healthy node's, with some of its fields changed."""
        return Heartbeat.model_validate(
            {
                "node_id": node_id,
                "sent_at": sent_at,
                "version": "0.1.0",
                "disk_free": 80 * GIB,
                "disk_total": 100 * GIB,
                "disk_reserved": 0,
                "iops": 12.5,
                "memory_available": 1 * GIB,
                "memory_total": 2 * GIB,
                "load": 0.5,
                "active_uploads": 0,
                "upload_slots": 8,
                "accepting": True,
                "files": 0,
                "stored_bytes": 0,
                "replication_waiting": 0,
                "replication_oldest": 0,
                "scrub_damaged": 0,
                "scrub_oldest": 0,
                "inventory": "0" * 64,
                "roster_version": 0,
                **changed,
            }
        )

    def signed(self, beat: Heartbeat, **changed: Any) -> tuple[str, bytes]:
        """Its token and its body; `changed` claims make a bad one."""
        body = beat.model_dump_json().encode()
        claims = {
            "iss": beat.node_id,
            "aud": HEARTBEAT_AUDIENCE,
            "iat": int(beat.sent_at.timestamp()),
            "jti": secrets.token_hex(16),
            "sha256": hashlib.sha256(body).hexdigest(),
            **changed,
        }
        key = self.keys[beat.node_id]
        return mint_heartbeat(key, HeartbeatClaims.model_validate(claims)), body

    def message(self, node_id: str, message: Message, moment: datetime) -> tuple[str, bytes]:
        """A token of this node's and the body that it is for."""
        body = message.model_dump_json().encode()
        claims = HeartbeatClaims(
            iss=node_id,
            aud=HEARTBEAT_AUDIENCE,
            iat=int(moment.timestamp()),
            jti=secrets.token_hex(16),
            sha256=hashlib.sha256(body).hexdigest(),
        )
        return mint_heartbeat(self.keys[node_id], claims), body

    def receipt(self, node_id: str, moment: datetime, **claims: Any) -> str:
        """A node's receipt for a file of 1000 bytes, with some of its claims changed."""
        file_id = claims.get("file_id", secrets.token_hex(16))
        said = {
            "iss": node_id,
            "aud": RECEIPT_AUDIENCE,
            "iat": int(moment.timestamp()),
            "jti": secrets.token_hex(16),
            "file_id": file_id,
            "path": PurePosixPath("files/2026/01/02/03", f"a_{file_id[:8]}.iso"),
            "size": 1000,
            "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
            "committed_at": moment,
            "copies": (node_id,),
            **claims,
        }
        return mint_receipt(self.keys[node_id], ReceiptClaims.model_validate(said))

    def receipt_of(
        self, session: Session, moment: datetime, node_id: str = "", **claims: Any
    ) -> str:
        """The receipt for what was uploaded in a session, by its node or another one."""
        return self.receipt(
            node_id or session.node_id,
            moment,
            **{"jti": session.session_id, "file_id": session.file_id, **claims},
        )


def settings(folder: Path, database_url: str, **changed: Any) -> Settings:
    """Settings of a control plane whose files are in `folder`; also written to control.toml."""
    key = SigningKey.generate(ISSUER)
    (folder / "issuer.key").write_text(key.to_json())
    (folder / "keyset.json").write_text(Keyset(keys=(key.public(),)).model_dump_json())
    lines = {
        "cluster": "lab",
        "control_url": "https://c01.portside.test",
        "database": database_url,
        "roster": str(folder / "roster.json"),
        "keyset": str(folder / "keyset.json"),
        "issuer": ISSUER,
        "issuer_key": str(folder / "issuer.key"),
        "factor": 2,
        "max_size": 4 * GIB,
        "extensions": [".iso", ".bin"],
        "private": ["private"],
        # Tests fill nodes with one owner's sessions.
        "promised_per_owner": 1,
        **changed,
    }
    text = "".join(f"{k} = {json.dumps(v)}\n" for k, v in lines.items() if v is not None)
    (folder / "control.toml").write_text(text)
    return load_settings(folder / "control.toml")


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, seconds: float) -> datetime:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)
        return self.now


def take_over(database: Database, roster: Roster, now: datetime) -> None:
    """As a worker's round does after a deploy."""
    database.write(lambda session: rosters.take_over(session, roster, now))


def done(lease_id: str, outcome: str = "done", **fields: Any) -> WorkDone:
    """How a lease ended."""
    return WorkDone.model_validate({"lease_id": lease_id, "outcome": outcome, **fields})
