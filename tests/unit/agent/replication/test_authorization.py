"""Who may send copies: nodes that are in the cluster now."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import PurePosixPath

import pytest

from agent.cluster.roster import Rosters
from agent.problems import ProblemError
from agent.replication.authorization import Sources
from agent.replication.request import ReplicateRequest
from portside.tokens import SigningKey, mint_replicate
from portside.wire.claims import ReplicateClaims
from portside.wire.heartbeat import NodeState, Roster, RosterNode

KEY = SigningKey.generate("s02")


class _Known(Rosters):
    """A roster with one other node, in this state."""

    def __init__(self, state: NodeState, key: SigningKey = KEY) -> None:
        base = "https://s02.portside.test"
        node = RosterNode(
            node_id="s02", public_base_url=base, upload_api_url=base, state=state, key=key.public()
        )
        self._it = Roster(cluster="lab", nodes=(node,))

    def current(self) -> Roster:
        return self._it


def _asked(key: SigningKey = KEY) -> ReplicateRequest:
    now = int(time.time())
    claims = ReplicateClaims(
        iss="s02",
        aud="s01",
        iat=now,
        nbf=now,
        exp=now + 60,
        jti="token-0001",
        file_id="f" * 32,
        path=PurePosixPath("isos/2026/01/02/03/a_ffffffff.iso"),
        size=1,
        sha256="0" * 64,
        namespace="isos",
        owner="alice",
        name="a.iso",
        content_type="application/octet-stream",
        committed_at=datetime.now(UTC),
    )
    token = mint_replicate(key, claims)
    return ReplicateRequest("PUT", str(claims.path), f"Bearer {token}", 1, None, None)


def test_a_node_that_is_retired_sends_no_copies_any_more() -> None:
    for state in ("active", "draining", "down"):
        assert Sources("s01", _Known(state)).claims(_asked()).iss == "s02"
    with pytest.raises(ProblemError) as refused:
        Sources("s01", _Known("retired")).claims(_asked())
    assert refused.value.slug == "token-unknown-key"


def test_a_key_that_a_node_had_before_sends_no_copies_any_more() -> None:
    """From the moment that the roster has its new one."""
    new = SigningKey.generate("s02")
    sources = Sources("s01", _Known("active", new))
    with pytest.raises(ProblemError) as refused:
        sources.claims(_asked())
    assert refused.value.slug == "token-unknown-key"
    assert sources.claims(_asked(new)).iss == "s02"
