"""Whose certificates count: the named authority, the environment's, the system's, in this order."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import truststore

from portside.client.http import trust
from portside.client.http.trust import VARIABLES, trusted_authorities


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    made = {name: tmp_path / name for name in ("named", "system", *VARIABLES)}
    for path in made.values():
        path.touch()
    return {name: str(path) for name, path in made.items()}


def test_each_stands_in_for_all_after_it(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "_SYSTEM_FILES", (Path("/nowhere"), Path(files["system"])))
    environment = {name: files[name] for name in VARIABLES}
    assert trusted_authorities(Path(files["named"]), environment) == files["named"]
    while environment:
        first = next(iter(environment))
        assert trusted_authorities(None, environment) == files[first]
        del environment[first]
    assert trusted_authorities(None, {"SSL_CERT_FILE": ""}) == files["system"]


def test_a_system_without_a_file_of_authorities_has_those_of_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trust, "_system_files", lambda: iter((Path("/nowhere"),)))
    assert trusted_authorities(None, {}) is True


def test_a_file_that_isnt_there_is_told_with_who_names_it() -> None:
    with pytest.raises(ValueError, match="/nowhere: there is no such CA file"):
        trusted_authorities(Path("/nowhere"), {})
    with pytest.raises(ValueError, match="SSL_CERT_FILE: there is no /nowhere"):
        trusted_authorities(None, {"SSL_CERT_FILE": "/nowhere"})


def test_what_was_added_to_a_keychain_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows keep their authorities in no file that has them all."""
    asked: list[bool] = []
    monkeypatch.setattr(truststore, "inject_into_ssl", lambda: asked.append(True))
    for platform in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert trusted_authorities(None, {}) is True
    assert len(asked) == 2
