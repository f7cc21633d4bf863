"""What the control plane is given on its node is what the programs that read it take."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest
from gunicorn.config import Config

from control import settings
from deploys import layout
from deploys.components import alert_rules, control, control_database
from portside.cluster.file import Cluster, parse
from portside.tokens import SigningKey
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeControl

URL = "postgresql://portside:hunter2@db.example.net/portside"


def _with_database(database: str) -> Cluster:
    return parse(CLUSTER + f"control: {{database: '{database}'}}\n")


@pytest.mark.parametrize(
    ("database", "url"),
    [
        ("sqlite", "sqlite:////var/lib/portside-control/control.sqlite"),
        ("postgresql", "postgresql:///portside?host=/run/postgresql"),
    ],
)
def test_the_control_plane_reads_its_settings(
    make_control: MakeControl, tmp_path: Path, database: str, url: str
) -> None:
    cluster = _with_database(database)
    path = tmp_path / "control.toml"
    path.write_text(control.control_settings(make_control(cluster)))
    read = settings.load(path)
    assert read.database_url() == url
    assert (read.cluster, read.issuer) == ("test", "test")
    assert read.control_url == "https://c01.portside.test"
    assert (read.factor, read.max_size) == (1, cluster.uploads.max_size)
    assert (read.heartbeat_every, read.dead_after, read.repair_after) == (15, 90, 900)
    assert read.extensions == cluster.uploads.extensions


@pytest.mark.parametrize(("said", "asks"), [("", True), ("control: {probe: off}\n", False)])
def test_a_control_plane_behind_nat_can_be_told_not_to_ask_nodes(
    make_control: MakeControl, tmp_path: Path, said: str, asks: bool
) -> None:
    path = tmp_path / "control.toml"
    path.write_text(control.control_settings(make_control(parse(CLUSTER + said))))
    assert settings.load(path).probe is asks


def test_quotas_arrive_as_they_were_said(make_control: MakeControl, tmp_path: Path) -> None:
    odd = 'o\\"\U0001f600'
    owners = json.dumps({odd: {"bytes": None}}, ensure_ascii=False)
    said = f"{{default: {{bytes: 1TiB}}, owners: {owners}, apps: {{shop: {{files: 3}}}}}}"
    cluster = parse(f"{CLUSTER}quotas: {said}\n")
    path = tmp_path / "control.toml"
    path.write_text(control.control_settings(make_control(cluster)), encoding="utf-8")
    read = settings.load(path).quotas
    assert read.owners == cluster.quotas.owners
    assert read.of_owner(odd).bytes is None
    assert (read.of_owner("bob").bytes, read.of_app("shop").files) == (1 << 40, 3)


def test_the_password_of_a_database_elsewhere_is_in_a_file_of_its_own(
    make_control: MakeControl, tmp_path: Path
) -> None:
    text = control.control_settings(make_control(_with_database(URL)))
    assert "hunter2" not in text
    secret = tmp_path / "control.database"
    secret.write_text(f"{URL}\n")
    path = tmp_path / "control.toml"
    path.write_text(text.replace(layout.CONTROL_DATABASE_URL, str(secret)))
    assert settings.load(path).database_url() == URL


ALERTS = """control:
  alerts:
    webhook: https://chat.test/secret
    heartbeat: 5m
    mail: {to: [a@b.test], sender: c@b.test, host: b.test, user: ops}
"""


def test_who_is_told_of_alerts_arrives_with_the_bounds_that_they_are_judged_by(
    make_control: MakeControl, tmp_path: Path
) -> None:
    cluster = parse(f"{CLUSTER}{ALERTS}scrub: {{every: 10d}}\n")
    path = tmp_path / "control.toml"
    path.write_text(control.control_settings(make_control(cluster)))
    read = settings.load(path)
    assert cluster.control.alerts is not None
    assert cluster.control.alerts.mail is not None
    assert read.alerts is not None
    assert read.alerts.model_dump(exclude={"mail"}) == cluster.control.alerts.model_dump(
        exclude={"mail"}
    )
    assert read.alerts.mail == cluster.control.alerts.mail.model_copy(update={"port": 587})
    assert str(read.alerts_password_file) == layout.ALERTS_PASSWORD
    assert read.alert_bounds == alert_rules.bounds(cluster)
    assert str(read.backups) == layout.CONTROL_BACKUPS


def test_without_alerts_nobody_is_told_and_elsewhere_backups_are_not_ours(
    make_control: MakeControl, tmp_path: Path
) -> None:
    text = control.control_settings(make_control(_with_database(URL)))
    secret = tmp_path / "control.database"
    secret.write_text(f"{URL}\n")
    path = tmp_path / "control.toml"
    path.write_text(text.replace(layout.CONTROL_DATABASE_URL, str(secret)))
    read = settings.load(path)
    assert (read.alerts, read.alerts_password_file, read.backups) == (None, None, None)


@pytest.mark.parametrize(("database", "processes"), [("sqlite", 1), ("postgresql", 2)])
def test_gunicorn_takes_every_setting(
    make_control: MakeControl, database: str, processes: int
) -> None:
    values: dict[str, object] = {}
    text = control.gunicorn_settings(make_control(_with_database(database)))
    exec(text, values)  # noqa: S102 (it is our own template)
    config = Config()
    for name, value in values.items():
        if name != "__builtins__" and not isinstance(value, (ModuleType, type)):
            config.set(name, value)
    assert (config.workers, config.threads) == (processes, control.THREADS)
    assert config.control_socket_disable


def _systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(
    params=[
        (CLUSTER, "c01"),
        (
            CLUSTER.replace("s01: {}", "s01: {roles: [storage, control]}").replace(", c01: {}", ""),
            "s01",
        ),
    ]
)
def unit_files(
    request: pytest.FixtureRequest, make_control: MakeControl, tmp_path: Path
) -> dict[str, Path]:
    """Every unit of the control plane, alone and beside storage, with programs that exist here."""
    cluster, node_id = request.param
    node = make_control(parse(cluster), node_id)
    paths = {}
    for name, text in {**control.units(node), **control_database.backup_units(node)}.items():
        paths[name] = tmp_path / name
        own = f"{layout.CONTROL_CURRENT}/venv/bin/"
        for program in (own, layout.BACKUP_COMMAND, layout.SERVE_COMMAND):
            text = text.replace(program, "/bin/true ")
        paths[name].write_text(text)
    return paths


def test_systemd_takes_every_unit(unit_files: dict[str, Path]) -> None:
    for name, path in unit_files.items():
        done = _systemd_analyze("verify", "--man=no", str(path))
        assert (done.returncode, name in done.stderr) == (0, False), done.stderr


def test_every_unit_stays_as_sandboxed_as_it_is(unit_files: dict[str, Path]) -> None:
    # In tenths. The network, which nodes and databases are reached by, costs 0.9.
    limits = {
        layout.CONTROL_SERVICE: 14,
        layout.CONTROL_WORKER_SERVICE: 14,
        layout.BACKUP_SERVICE: 5,
    }
    for name, limit in limits.items():
        done = _systemd_analyze(
            "security", "--offline=true", f"--threshold={limit}", str(unit_files[name])
        )
        assert done.returncode == 0, done.stdout


def test_beside_storage_the_uploads_and_the_nodes_key_are_out_of_reach(
    make_control: MakeControl,
) -> None:
    both = parse(
        CLUSTER.replace("s01: {}", "s01: {roles: [storage, control]}").replace(", c01: {}", "")
    )
    hidden = "InaccessiblePaths=-/srv/portside -/etc/portside/node.key\n"
    assert all(hidden in text for text in control.units(make_control(both, "s01")).values())
    assert not any("Inaccessible" in text for text in control.units(make_control()).values())


# -- the whole deploy ------------------------------------------------------------------------------


def _deploy(responses: dict[str, list[str]] = PRISTINE) -> list[str]:
    return fake_host.deploy("control_node.py", responses, "c01", ["control"])


@pytest.mark.usefixtures("secrets", "release")
def test_a_bare_node_becomes_the_control_plane_in_order() -> None:
    commands = _deploy()
    order = [
        position(commands, "apt-get install", "nginx"),
        position(commands, "systemd-sysusers"),
        position(commands, "nft -c -f"),
        position(commands, "nginx -t -q -c"),
        position(commands, "systemctl reload nginx.service"),
        position(commands, "/etc/portside/roster.json", "mv -fT"),
        position(commands, "install -d -m 0755 /opt/portside/control/releases/"),
        position(commands, "portside-control check"),
        position(commands, "mv -fT", "/etc/portside/control.toml"),
        position(
            commands, "portside-control migrate", "systemctl restart portside-control.service"
        ),
        position(commands, "systemctl restart portside-control-worker.service"),
        position(commands, "systemctl restart portside-control-backup.timer"),
    ]
    assert order == sorted(order)
    assert not any("postgresql" in command and "apt-get" in command for command in commands)


@pytest.mark.usefixtures("release")
def test_no_secret_of_the_control_plane_is_in_any_command(secrets: Path) -> None:
    path = secrets.parent.parent / "cluster.yaml"
    path.write_text(CLUSTER + f"control: {{database: '{URL}'}}\n")
    commands = "\n".join(_deploy())
    assert "hunter2" not in commands
    for issuer in (secrets / "issuer").iterdir():
        key = SigningKey.from_json(issuer.read_text())
        assert key.kid in issuer.name
        assert "PRIVATE" not in commands
        secret = issuer.read_text().partition('"d"')[2].split('"')[1]
        assert len(secret) > 20
        assert secret not in commands
    # It has its own backups.
    assert "portside-control-backup.timer" not in commands


@pytest.mark.usefixtures("release")
def test_the_mail_servers_password_is_in_no_command_and_is_asked_for_before_anything_is_done(
    secrets: Path,
) -> None:
    (secrets.parent.parent / "cluster.yaml").write_text(CLUSTER + ALERTS)
    with pytest.raises(PyinfraError, match=r"alerts\.password can't be read.*control\.alerts"):
        _deploy()
    password = secrets / "alerts.password"
    password.write_text("hunter2")
    password.chmod(0o644)
    with pytest.raises(PyinfraError, match="chmod 600"):
        _deploy()
    password.chmod(0o600)
    assert "hunter2" not in "\n".join(_deploy())


@pytest.mark.usefixtures("release")
def test_postgresql_is_installed_where_it_is_chosen(secrets: Path) -> None:
    (secrets.parent.parent / "cluster.yaml").write_text(
        CLUSTER + "control: {database: postgresql}\n"
    )
    commands = _deploy()
    order = [
        position(commands, "apt-get install", "postgresql"),
        position(commands, "createuser", "createdb"),
        position(commands, "portside-control migrate"),
    ]
    assert order == sorted(order)


@pytest.mark.usefixtures("secrets", "release")
def test_storage_nodes_are_not_touched() -> None:
    assert fake_host.deploy("control_node.py", PRISTINE, "s01", ["storage"]) == []
