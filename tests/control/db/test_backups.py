"""Whoever looks after a control plane sees how old its database's newest copy is."""

from __future__ import annotations

import os
from pathlib import Path

import falcon.testing
import pytest

from control.app import create_app
from tests.support.control.core import Core

HOUR = 3600


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_the_age_of_the_newest_copy_is_a_figure_and_an_old_one_a_warning(
    core: Core, tmp_path: Path
) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    os.utime(folder, (core.clock.now.timestamp(),) * 2)
    settings = core.settings.model_copy(update={"backups": folder})
    client = falcon.testing.TestClient(create_app(settings, core.database, core.clock))

    def copied(name: str, hours: int) -> None:
        (folder / name).touch()
        moment = core.clock.now.timestamp() - hours * HOUR
        os.utime(folder / name, (moment, moment))

    def figure() -> list[str]:
        lines = client.simulate_get("/metrics").text.splitlines()
        return [each for each in lines if each.startswith("portside_control_backup_age_seconds ")]

    def warned() -> bool:
        told = client.simulate_get("/health/ready").json["warnings"]
        return any(each.startswith("backup-old: ") for each in told)

    assert not warned(), "there is none yet, and it was made just now"
    copied("control-1.sqlite", hours=9)
    copied(".control-2.sqlite", hours=0)
    assert figure() == ["portside_control_backup_age_seconds 32400.0"] and warned()
    copied("control-2.sqlite", hours=1)
    assert figure() == ["portside_control_backup_age_seconds 3600.0"] and not warned()
