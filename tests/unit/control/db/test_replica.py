"""How old the database's copy is, from litestream's word: a copy is never said to be better."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from control.db import replica
from portside.web import unix_client

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PATH = '"path":"/var/lib/portside-control/control.sqlite","status":"replicating"'


def _listed(*ages: float | None) -> str:
    moments = [None if age is None else NOW - timedelta(seconds=age) for age in ages]
    each = [
        f"{{{PATH}}}" if at is None else f'{{{PATH},"last_sync_at":"{at.isoformat()}"}}'
        for at in moments
    ]
    return f'{{"databases":[{",".join(each)}]}}'


@pytest.mark.parametrize(
    ("said", "age", "trouble"),
    [
        (_listed(1.5), 1.5, None),
        (_listed(replica.LATE), replica.LATE, None),
        (_listed(replica.LATE + 1), replica.LATE + 1, "replica-late: the database's copy is 61 s"),
        (_listed(2, 100), 100, "replica-late"),
        # A clock that was set back.
        (_listed(-30), 0, None),
        (_listed(None), None, "nothing of the database was copied yet"),
        (_listed(), None, "nothing of the database was copied yet"),
        ("<html>", None, "replica-silent: litestream's answer is none"),
        ('{"databases": 3}', None, "replica-silent: litestream's answer is none"),
        ('{"databases":[{"path":"a","last_sync_at":"yesterday"}]}', None, "replica-silent"),
    ],
)
def test_what_litestream_says(
    monkeypatch: pytest.MonkeyPatch, said: str, age: float | None, trouble: str | None
) -> None:
    monkeypatch.setattr(unix_client, "get", lambda path, url: said.encode())
    found = replica.state(Path("/nowhere"), NOW)
    assert found.age == age
    assert (trouble or "") in (found.trouble or "")
    assert (found.trouble is None) is (trouble is None)


def test_a_litestream_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    found = replica.state(tmp_path / "socket", NOW)
    assert found.age is None
    assert "replica-silent" in str(found.trouble)
