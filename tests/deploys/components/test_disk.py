"""The data directory: whose the files in it are."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploys.components.machine.disk import taken_over
from tests.support.deploys.this_computer import Programs


@pytest.mark.parametrize("failing", ["find", "chown"])
def test_files_that_could_not_be_given_to_the_service_end_the_run(
    tmp_path: Path, failing: str
) -> None:
    programs = Programs(tmp_path)
    programs.make("find", "true")
    programs.make("chown", f"touch {tmp_path}/index")
    programs.make(failing, "exit 1")
    # As `converged` runs it: what comes after it is the stamp.
    done = programs.run(f"set -e; {taken_over(str(tmp_path))}\ntouch {tmp_path}/stamp")
    assert done.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["programs"]
