"""What a deploy does for the running copy of the database: settings, secrets, unit, or nothing."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest
import yaml
from pyinfra.api.exceptions import PyinfraError

from control.settings import load
from deploys import layout
from deploys.components import control, control_database, control_replica
from portside.cluster.file import parse
from portside.cluster.replica import Replica
from tests.support.cluster_files import CLUSTER
from tests.support.control.replica import program
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeControl

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1mVh2c9t0oHq6cWc4w0rX9bqB0m0x2oYw6c1q3sT5u"
PLACES = {
    "path": "{path: /mnt/second/copy, keep: 2d}",
    "sftp": "{sftp: {host: backup.example.net, port: 2222, user: portside, path: /srv/copy, "
    f"host_key: '{HOST_KEY} root@backup'}}}}",
    "bucket": "{bucket: {bucket: copies, prefix: a/b/, endpoint: 'https://s3.example.net'}}",
}
SECRET = "only-for-tests-4711"
CREDENTIALS = f"[default]\naws_access_key_id = portside\naws_secret_access_key = {SECRET}\n"
_KIND = "OPENSSH PRIVATE " + "KEY"
SSH_KEY = f"-----BEGIN {_KIND}-----\n{SECRET}\n-----END {_KIND}-----\n"


def _cluster_file(place: str) -> str:
    return f"{CLUSTER}control: {{replica: {PLACES[place]}}}\n"


def _replica(place: str) -> Replica:
    replica = parse(_cluster_file(place)).control.replica
    assert replica is not None
    return replica


@pytest.mark.parametrize("place", PLACES)
def test_litestream_reads_its_settings(place: str, tmp_path: Path) -> None:
    path = tmp_path / "litestream.yml"
    path.write_text(control_replica.replica_settings(_replica(place)))
    done = subprocess.run(
        [program(), "databases", "-no-expand-env", "-config", str(path)],
        capture_output=True,
        text=True,
        check=False,
        # A bundle of CAs that is named here would be this machine's affair.
        env={},
    )
    assert done.returncode == 0, done.stderr
    assert layout.CONTROL_DATABASE in done.stdout
    said = yaml.safe_load(path.read_text())
    [database] = said["dbs"]
    replica = database["replica"]
    match place:
        case "path":
            assert (replica["type"], replica["path"]) == ("file", "/mnt/second/copy")
            assert said["snapshot"] == {"interval": "21600s", "retention": "172800s"}
        case "sftp":
            assert (replica["host"], replica["host-key"]) == ("backup.example.net:2222", HOST_KEY)
        case "bucket":
            assert (replica["bucket"], replica["path"]) == ("copies", "a/b/control.sqlite")


@pytest.mark.parametrize("place", PLACES)
def test_systemd_takes_its_unit_which_is_sandboxed_as_the_others_are(
    place: str, make_control: MakeControl, tmp_path: Path
) -> None:
    cluster = parse(_cluster_file(place))
    text = control_replica.replica_unit(make_control(cluster), _replica(place))
    path = tmp_path / layout.REPLICA_SERVICE
    path.write_text(text.replace(layout.REPLICA_COMMAND, "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, path.name in verified.stderr) == (0, False), verified.stderr
    limit = 5 if place == "path" else 14
    safe = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={limit}", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert safe.returncode == 0, safe.stdout
    assert f"InaccessiblePaths=-{layout.ISSUER_KEY}" in text


def test_the_control_plane_is_told_where_to_ask_for_the_copys_age(
    make_control: MakeControl, tmp_path: Path
) -> None:
    path = tmp_path / "control.toml"
    path.write_text(control.control_settings(make_control(parse(_cluster_file("path")))))
    assert str(load(path).replica_socket) == layout.REPLICA_SOCKET
    path.write_text(control.control_settings(make_control()))
    assert load(path).replica_socket is None


def test_the_backups_reach_the_network_only_for_a_copy_that_is_elsewhere(
    make_control: MakeControl,
) -> None:
    for place, alone in (("path", True), ("bucket", False)):
        units = control_database.backup_units(make_control(parse(_cluster_file(place))))
        assert ("PrivateNetwork=yes" in units[layout.BACKUP_SERVICE]) is alone


def test_a_folder_on_the_databases_own_disk_is_told_from_another(tmp_path: Path) -> None:
    for folder, is_elsewhere in ((tmp_path, False), (Path("/proc"), True)):
        for existing in (False, True):
            place = folder / "not/yet" if existing and folder == tmp_path else folder
            replica = Replica.model_construct(path=PurePosixPath(place))
            asked = control_replica.elsewhere(replica, existing=existing)
            asked = asked.replace(layout.CONTROL_HOME, str(tmp_path))
            done = subprocess.run(["/bin/sh", "-c", asked], check=False)
            assert (done.returncode == 0) is is_elsewhere, asked


def _deploy(secrets: Path, place: str | None) -> list[str]:
    text = CLUSTER if place is None else _cluster_file(place)
    (secrets.parent.parent / "cluster.yaml").write_text(text)
    return fake_host.deploy("control_node.py", PRISTINE, "c01", ["control"])


def _keep(secrets: Path, name: str, text: str, mode: int = 0o600) -> None:
    (secrets / name).write_text(text)
    (secrets / name).chmod(mode)


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("place", PLACES)
def test_it_comes_after_the_control_plane_and_no_secret_is_in_any_command(
    secrets: Path, place: str
) -> None:
    _keep(secrets, "replica.credentials", CREDENTIALS)
    _keep(secrets, "replica.key", SSH_KEY)
    commands = _deploy(secrets, place)
    order = [
        position(commands, "systemctl restart portside-control.service"),
        position(commands, layout.REPLICA_SETTINGS, "mv -fT"),
        position(commands, f"systemctl restart {layout.REPLICA_SERVICE}"),
    ]
    assert order == sorted(order)
    assert SECRET not in "\n".join(commands)
    secret = {"sftp": layout.REPLICA_KEY, "bucket": layout.REPLICA_CREDENTIALS}.get(place)
    if secret is not None:
        written = commands[position(commands, "umask 077; { cat >", secret.rpartition("/")[2])]
        assert "chmod 0600" in written


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize(
    ("place", "name", "text", "mode", "why"),
    [
        ("bucket", "other", "", 0o600, "control.replica.bucket"),
        ("bucket", "replica.credentials", CREDENTIALS, 0o644, "chmod 600"),
        ("bucket", "replica.credentials", "[default]\n", 0o600, "aws_access_key_id"),
        ("sftp", "other", "", 0o600, "control.replica.sftp"),
        ("sftp", "replica.key", "ssh-ed25519 AAAA\n", 0o600, "without a passphrase"),
    ],
)
def test_without_its_secret_nothing_is_begun(
    secrets: Path, place: str, name: str, text: str, mode: int, why: str
) -> None:
    _keep(secrets, name, text, mode)
    with pytest.raises(PyinfraError, match=why):
        _deploy(secrets, place)


@pytest.mark.usefixtures("release")
def test_where_none_is_wanted_an_earlier_one_goes(secrets: Path) -> None:
    commands = _deploy(secrets, None)
    removed = commands[
        position(commands, f"systemctl disable --quiet --now {layout.REPLICA_SERVICE}")
    ]
    assert layout.REPLICA_CREDENTIALS in removed
    assert not any(f"systemctl restart {layout.REPLICA_SERVICE}" in each for each in commands)
