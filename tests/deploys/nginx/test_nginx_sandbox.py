"""nginx's sandbox: what it leaves, what it needs, and that no upload is cut to put it in force."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePosixPath

import pytest

from deploys import layout
from deploys.components import nginx_sandbox
from deploys.components.nginx import configuration
from portside.cluster.file import parse
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeControl, MakeNode

DEBIAN = Path("/lib/systemd/system/nginx.service")


@pytest.fixture
def drop_ins(make_node: MakeNode, make_control: MakeControl) -> dict[str, str]:
    return {
        "storage": nginx_sandbox.sandbox(make_node()),
        "control": nginx_sandbox.sandbox(make_control()),
    }


def test_systemd_takes_it_and_little_stays_exposed(
    drop_ins: dict[str, str], tmp_path: Path
) -> None:
    for kind, text in drop_ins.items():
        unit = tmp_path / f"nginx-{kind}.service"
        unit.write_text(f"{DEBIAN.read_text()}\n{text}")
        verified = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (verified.returncode, unit.name in verified.stderr) == (0, False), verified.stderr
        # In tenths: 5.0 is what was asked for, Debian's has 9.6; this close a dropped line shows.
        judged = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--threshold=29", str(unit)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert judged.returncode == 0, judged.stdout


def test_one_worker_that_is_killed_for_memory_stops_no_other(drop_ins: dict[str, str]) -> None:
    for text in drop_ins.values():
        assert "\nOOMPolicy=continue\n" in text


def test_only_a_node_without_luajit_denies_memory_to_write_and_run(
    drop_ins: dict[str, str],
) -> None:
    assert "\nMemoryDenyWriteExecute=yes\n" not in drop_ins["storage"]
    assert "\nMemoryDenyWriteExecute=yes\n" in drop_ins["control"]


@pytest.mark.parametrize("root", ["/srv/portside", "/var/lib/portside-data", "/data"])
def test_a_data_disk_may_come_and_go_under_it_and_is_only_read(
    make_node: MakeNode, root: str
) -> None:
    """A path that is named would be bound: what is mounted there later would be hidden."""
    node = make_node(cluster=parse(f"{CLUSTER}uploads: {{root: {root}}}\n"))
    text = nginx_sandbox.sandbox(node)
    assert "\nProtectSystem=strict\n" in text
    paths = [
        PurePosixPath(path.removeprefix("-"))
        for line in text.splitlines()
        if line.startswith("ReadWritePaths=")
        for path in line.partition("=")[2].split()
    ]
    assert paths
    for path in paths:
        assert not path.is_relative_to(root)
        assert not PurePosixPath(root).is_relative_to(path)


def test_what_nginx_writes_is_where_it_may(make_node: MakeNode) -> None:
    for said in ("", "tls: {mode: acme, email: ops@portside.test}\n"):
        text = configuration(make_node(cluster=parse(CLUSTER + said)))
        # Debian's own folders for temporary files are below /var/lib/nginx.
        assert not re.search(r"^\s*\w+_(temp_path|cache_path|store)", text, re.MULTILINE)
        written = re.findall(r"^\s*(?:access_log|error_log|pid) (/\S+)", text, re.MULTILINE)
        assert written
        assert all(path.startswith(("/var/log/nginx/", "/run/")) for path in written)


def test_of_portsides_settings_it_sees_the_certificate_alone(drop_ins: dict[str, str]) -> None:
    """Whatever comes into that folder later: a file that is named must be there to be hidden."""
    for text in drop_ins.values():
        assert f"\nTemporaryFileSystem={layout.SETTINGS}:ro\n" in text
        shown = [line for line in text.splitlines() if line.startswith("Bind")]
        assert shown == [f"BindReadOnlyPaths={layout.TLS}"]


@pytest.mark.usefixtures("release", "secrets")
@pytest.mark.parametrize(
    ("script", "role"),
    [("storage_node.py", "storage"), ("site.py", "storage"), ("control_node.py", "control")],
)
def test_a_new_node_has_it_before_anything_is_served(script: str, role: str) -> None:
    commands = fake_host.deploy(script, PRISTINE, "s01" if role == "storage" else "c01", [role])
    in_force = position(commands, "systemctl try-restart nginx.service")
    assert position(commands, "mv -fT", nginx_sandbox.FILE) < in_force
    assert in_force < position(commands, "nginx -t -q -c")
    service = layout.AGENT_SERVICE if role == "storage" else layout.CONTROL_SERVICE
    assert in_force < position(commands, f"systemctl restart {service}")
    # Where one of them was there before, nginx may be serving: it isn't restarted.
    assert commands[in_force].index(f"is-enabled --quiet {service}") < commands[in_force].index(
        "try-restart"
    )


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("there", [False, True])
def test_sites_of_the_operators_own_are_kept_out_of_it(secrets: Path, there: bool) -> None:
    (secrets.parent.parent / "cluster.yaml").write_text(f"{CLUSTER}nginx: {{keep: true}}\n")
    found = {f"for p in {nginx_sandbox.FILE}": [f"file 644 root root 0 {nginx_sandbox.FILE}"]}
    commands = fake_host.deploy(
        "storage_node.py", PRISTINE | (found if there else {}), "s01", ["storage"]
    )
    assert not any("mv -fT" in each and nginx_sandbox.FILE in each for each in commands)
    # Nothing is restarted but where it was in one.
    restarted = [each for each in commands if "try-restart nginx.service" in each]
    assert [f"rm -f {nginx_sandbox.FILE}" in each for each in restarted] == [True] * there
