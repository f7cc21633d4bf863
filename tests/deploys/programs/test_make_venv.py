"""A release's packages are made on the node, and anew when the node's Python is replaced."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from deploys import layout
from deploys.operations.releases import MAKE_VENV
from deploys.operations.rendering import render

PACKAGES = f"venv/lib/{Path('/usr/bin/python3').resolve().name}"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """What travels to a node, unpacked: one wheel that needs nothing, and how it is installed."""
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "portside-1-py3-none-any.whl", "w") as wheel:
        for name, text in (
            ("thing.py", "FOUND = True\n"),
            (
                "portside-1.dist-info/METADATA",
                "Metadata-Version: 2.1\nName: portside\nVersion: 1\n",
            ),
            (
                "portside-1.dist-info/WHEEL",
                "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            ),
            (
                "portside-1.dist-info/RECORD",
                "thing.py,,\nportside-1.dist-info/METADATA,,\nportside-1.dist-info/WHEEL,,\n"
                "portside-1.dist-info/RECORD,,\n",
            ),
        ):
            wheel.writestr(name, text)
    (tmp_path / "requirements.txt").write_text("")
    script = tmp_path / MAKE_VENV
    script.write_text(render("base/make_venv.sh.j2", pip_wheel=layout.PIP_WHEEL, loads="thing"))
    script.chmod(0o755)
    return tmp_path


def _make(release: Path) -> None:
    done = subprocess.run([release / MAKE_VENV], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def _loads(release: Path) -> bool:
    done = subprocess.run(
        [release / "venv" / "bin" / "python", "-I", "-c", "import thing"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_packages_for_another_python_are_made_once_and_the_old_ones_stay(release: Path) -> None:
    _make(release)
    assert _loads(release)
    made = release / PACKAGES / ".made"
    first = made.stat().st_mtime_ns
    # As a dist-upgrade leaves it: what is there is for a Python that is gone.
    (release / PACKAGES).rename(release / "venv" / "lib" / "python3.9")
    assert not _loads(release)
    _make(release)
    assert _loads(release)
    assert (release / "venv" / "lib" / "python3.9" / "site-packages" / "thing.py").exists()
    second = made.stat().st_mtime_ns
    assert second > first
    _make(release)
    assert made.stat().st_mtime_ns == second
    assert not (release / "pip").exists()


def test_what_a_killed_run_left_is_finished_by_the_next(release: Path) -> None:
    (release / PACKAGES / "site-packages").mkdir(parents=True)
    (release / "pip").mkdir()
    _make(release)
    assert _loads(release)
