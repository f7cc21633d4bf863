"""Tokens that were revoked stay so: as told, and on this node itself whatever its index goes by."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agent.index.database import Database
from agent.index.revocations import KEPT, Revocations
from agent.problems import ProblemError


def _refused(found: Revocations, token_id: str) -> bool:
    try:
        found.refuse(token_id)
    except ProblemError as problem:
        return problem.slug == "token-revoked"
    return False


def test_what_was_revoked_here_outlives_the_index(tmp_path: Path) -> None:
    kept, until = tmp_path / "revoked.json", int(time.time()) + 3600
    first = Revocations(Database(tmp_path / "index.sqlite"))
    first.add(["token-told"])
    with ThreadPoolExecutor(4) as threads:
        list(
            threads.map(
                lambda number: first.revoke(f"token-{number:04}", until, "stolen", kept), range(8)
            )
        )
    anew = Revocations(Database(tmp_path / "anew.sqlite"))
    anew.bring_in(tmp_path / "none.json")
    assert anew.all() == []
    anew.bring_in(kept)
    assert {each.token_id for each in anew.all()} == {f"token-{number:04}" for number in range(8)}
    assert {(each.until, each.reason) for each in anew.all()} == {(until, "stolen")}
    assert _refused(anew, "token-0007")
    # Those that were told are told again.
    assert not _refused(anew, "token-told")


def test_what_was_revoked_here_is_kept_for_as_long_as_the_token_would_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Revocations(Database(tmp_path / "index.sqlite"))
    now, kept = time.time(), tmp_path / "revoked.json"
    found.revoke("token-of-a-year", int(now) + 366 * 86400, "", kept)
    found.revoke("token-of-a-day", int(now) + 86400, "", kept)
    found.add(["token-told"])
    monkeypatch.setattr(time, "time", lambda: now + KEPT + 2 * 86400)
    found.add(["token-told-now"])
    assert [_refused(found, f"token-{each}") for each in ("of-a-year", "told", "told-now")] == [
        True,
        False,
        True,
    ]
    found.revoke("token-later", int(now) + 366 * 86400, "", kept)
    assert "token-of-a-day" not in kept.read_text()
    assert "token-of-a-year" in kept.read_text()


def test_a_file_that_is_damaged_is_made_anew_from_the_index(tmp_path: Path) -> None:
    kept, until = tmp_path / "revoked.json", int(time.time()) + 3600
    found = Revocations(Database(tmp_path / "index.sqlite"))
    found.revoke("token-0001", until, "", kept)
    for damage in ("{", '[{"token_id": 5}]', "[5]"):
        kept.write_text(damage)
        found.bring_in(kept)
    found.revoke("token-0002", until, "", kept)
    anew = Revocations(Database(tmp_path / "anew.sqlite"))
    anew.bring_in(kept)
    assert {each.token_id for each in anew.all()} == {"token-0001", "token-0002"}
