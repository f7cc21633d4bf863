"""Each odd machine is a script that a shell can run, and says who hands such machines out."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import lab

ODD = sorted((Path(lab.__file__).parent / "odd").glob("*.sh"))


@pytest.mark.parametrize("script", ODD, ids=lambda script: script.stem)
def test_a_script_can_be_read_by_shell_and_person(script: Path) -> None:
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    first, why, *rest = script.read_text(encoding="utf-8").splitlines()
    assert first == "#!/bin/sh"
    assert why.startswith("# ")
    assert "set -eu" in rest
    assert script.stat().st_mode & 0o111
