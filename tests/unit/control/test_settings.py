"""The control plane's settings: read whole, every mistake told at once, secrets kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from control.settings import CONFIG_VARIABLE, SettingsError, load

LEAST = {
    "cluster": "lab",
    "control_url": "https://c01.portside.test",
    "database": "postgresql://portside:hunter2@db.test/portside",
    "roster": "/etc/portside/roster.json",
    "issuer": "lab",
    "extensions": [".iso"],
}


def written(folder: Path, **changed: Any) -> Path:
    path = folder / "control.toml"
    lines = {key: value for key, value in {**LEAST, **changed}.items() if value is not None}
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items()))
    return path


def test_a_short_file_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(written(tmp_path, factor=2)))
    settings = load()
    assert (settings.factor, settings.ack, settings.dead_after) == (2, "local", 90)
    assert settings.database_url() == LEAST["database"]
    assert "hunter2" not in repr(settings)


def test_every_mistake_is_told_at_once_with_its_key(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load(written(tmp_path, factor=0, ack="both", colour="red", issuer=None))
    for key in ("factor", "ack", "colour", "issuer"):
        assert f"{key}: " in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("both", [{"database": None}, {"database_file": "/etc/portside/db"}])
def test_the_database_is_named_once(tmp_path: Path, both: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="exactly one of 'database' and 'database_file'"):
        load(written(tmp_path, **both))


def test_the_databases_url_may_be_in_a_file_of_its_own(tmp_path: Path) -> None:
    secret = tmp_path / "database"
    settings = load(written(tmp_path, database=None, database_file=str(secret)))
    with pytest.raises(SettingsError, match="can't be read"):
        settings.database_url()
    secret.write_text("sqlite:////var/lib/portside/control.sqlite\n")
    assert settings.database_url() == "sqlite:////var/lib/portside/control.sqlite"


def test_a_variable_stands_in_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTSIDE_CONTROL_FACTOR", "3")
    assert load(written(tmp_path)).factor == 3


def test_a_node_is_not_called_dead_between_two_heartbeats(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'dead_after' must be at least three times"):
        load(written(tmp_path, dead_after=44))


def test_a_missing_or_torn_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="deploy the control plane first"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "torn.toml").write_text("cluster = ")
    with pytest.raises(SettingsError, match="can't be read"):
        load(tmp_path / "torn.toml")
