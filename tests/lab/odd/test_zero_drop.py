"""Everything that may change on a node, one after the other, under uploads that never pause."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import CLUSTER_VARIABLE
from tests.support.lab.deploy import Run, copy_project, deploy
from tests.support.lab.odd import SECOND, Operator, cut_the_power, give_power, reboot
from tests.support.lab.requests import Node
from tests.support.lab.unceasing import uploads_without_a_pause

AGENT = "portside-agent.service"
COMMIT = "        now = datetime.now(UTC)\n        committed_at"


def _changed(folder: Path, name: str, file: str, old: str, new: str) -> Path:
    """The project with one thing otherwise."""
    (folder / name).mkdir()
    project = copy_project(folder / name)
    path = project / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    return project


def _went_well(run: Run) -> None:
    assert run.succeeded, run.output


def test_no_change_drops_an_upload(
    operator: Operator, machines: Mapping[str, Host], talk: Mapping[str, Node], tmp_path: Path
) -> None:
    host = machines[SECOND]
    commit, unit = "agent/storage/commit.py", "templates/systemd/portside-agent.service.j2"
    newer = _changed(tmp_path, "newer", commit, COMMIT, f"        pass\n{COMMIT}")
    broken = _changed(tmp_path, "broken", commit, COMMIT, f"        raise RuntimeError\n{COMMIT}")
    other_unit = _changed(tmp_path, "unit", unit, "RestartSec=2\n", "RestartSec=3\n")
    cluster = operator.file.read_text()
    with uploads_without_a_pause(talk[SECOND], 10.0) as tally:
        _went_well(deploy(operator.file, project=newer))
        run = deploy(operator.file, project=broken)
        assert not run.succeeded
        assert "and works again" in run.output
        _went_well(deploy(operator.file, script="rollback.py"))
        _went_well(deploy(operator.file, project=other_unit))
        operator.file.write_text(f"{cluster}cors: {{origins: ['https://app.example.net']}}\n")
        _went_well(deploy(operator.file))
        operator.certify()
        _went_well(deploy(operator.file))
        _rotate_keys(operator)
        for _ in range(5):
            host.check_output(f"systemctl reload {AGENT}")
    print(tally)
    assert tally.failed == []
    assert min(tally.stored[kind] for kind in ("put", "form", "tus")) >= 100, tally


def test_a_reboot_and_a_cut_of_the_power_drop_no_resumable_upload(
    machines: Mapping[str, Host], talk: Mapping[str, Node]
) -> None:
    with uploads_without_a_pause(talk[SECOND], 10.0, kinds=("tus",)) as tally:
        time.sleep(5)
        reboot(SECOND, machines[SECOND])
        talk[SECOND].wait_until_ready()
        time.sleep(5)
        cut_the_power(SECOND)
        give_power(SECOND)
        talk[SECOND].wait_until_ready()
        time.sleep(5)
    print(tally)
    assert tally.failed == []
    assert tally.stored["tus"] > 0
    # A reboot waits for what is under way.
    assert tally.resumed > 0


def _rotate_keys(operator: Operator) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("fab"), "rotate-keys"],
        cwd=PROJECT_ROOT,
        env={**os.environ, CLUSTER_VARIABLE: str(operator.file)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
