"""Whose tokens count changes with the keyset on disk, without a restart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.cluster.issuers import Issuers
from agent.cluster.roster import Rosters
from portside import durable_file
from portside.tokens import SigningKey
from portside.wire.keys import Keyset, PublicKey

FIRST, SECOND = (SigningKey.generate("lab") for _ in range(2))


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    return SimpleNamespace(
        node_id="s01",
        keyset=tmp_path / "keyset.json",
        roster=tmp_path / "roster.json",
        received_roster=tmp_path / "received.json",
        public_base_url="https://s01.portside.test",
    )


def _put(settings: Any, *keys: PublicKey) -> None:
    content = Keyset(keys=keys).model_dump_json().encode()
    durable_file.replace(settings.keyset, content, 0o640)


def test_a_key_counts_from_when_it_is_in_the_keyset_until_its_end(settings: Any) -> None:
    now = datetime.now(UTC)
    _put(settings, FIRST.public())
    issuers = Issuers(settings, Rosters(settings))
    assert issuers.current().find(SECOND.kid, now) is None
    _put(settings, SECOND.public(), FIRST.public(not_after=now + timedelta(hours=1)))
    for kid, later, counts in ((SECOND.kid, 2, True), (FIRST.kid, 0, True), (FIRST.kid, 2, False)):
        found = issuers.current().find(kid, now + timedelta(hours=later))
        assert (found is not None) is counts
    settings.keyset.write_text("{")
    assert issuers.current().find(SECOND.kid, now) is not None


def test_a_nodes_own_key_is_no_issuers_though_the_keyset_has_it(settings: Any) -> None:
    own = SigningKey.generate("s01")
    _put(settings, FIRST.public(), own.public())
    assert [key.kid for key in Issuers(settings, Rosters(settings)).current().keys] == [FIRST.kid]
