"""`fab export` against a control plane: what it says, and that a full or wrong folder is a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operate.files import exporting
from operate.site import Refused, Site
from operate.tell import Tell
from tests.support.client.control_double import ControlDouble, file_view


def test_the_lists_alone_are_written_by_a_dry_run(
    site: Site, control: ControlDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(3):
        view = file_view(f"{number}" * 32)
        control.files[view.file_id] = view
    out = tmp_path / "out"
    assert exporting.export(site, str(out), Tell(as_json=True), dry=True)
    assert json.loads(capsys.readouterr().out)["there"] == 3
    assert len((out / "manifest.jsonl").read_text().splitlines()) == 3


def test_a_folder_that_cannot_be_written_is_a_line(
    site: Site, control: ControlDouble, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(Refused, match="file: "):
        exporting.export(site, str(tmp_path / "file"), Tell())
    with pytest.raises(Refused, match="--parallel"):
        exporting.export(site, str(tmp_path / "out"), Tell(), parallel=0)
