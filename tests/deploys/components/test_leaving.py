"""What a deploy has put on a machine goes again, and nothing else does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components import leaving, nginx
from deploys.components.leaving import REMOVALS, data_gone
from deploys.components.machine.banners import BANNERS
from deploys.hosts.leftovers import Leftovers
from deploys.operations import removal
from deploys.operations.removal import Removal, taken_away
from portside.tokens import SigningKey
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.this_computer import Programs, ThisComputer, run_all

KEY = SigningKey.generate("s01").public()


def uninstall(responses: dict[str, Any], way: str) -> list[str]:
    return fake_host.deploy("uninstall.py", responses, "s01", ["storage"], uninstall=way)


def everything_there() -> dict[str, Any]:
    """A machine on which each component's list finds all of its paths."""
    found: dict[str, Any] = {}
    for _, each in REMOVALS:
        for keep in (True, False):
            paths = each.paths(keep)
            found[Leftovers().command(paths=paths)] = [f"left {path}" for path in paths]
    return {**PRISTINE, **found, f"left {nginx.FILE}": [f"left {nginx.FILE}"]}


ALL_OF_IT = f"""{CLUSTER}
monitoring:
  prometheus: on
  grafana: on
  alertmanager:
    webhook: https://hooks.portside.test/alerts
    webhook_token: on
    mail: {{to: [ops@portside.test], sender: a@portside.test, host: mail.portside.test, user: me}}
control:
  alerts:
    mail: {{to: [ops@portside.test], sender: a@portside.test, host: mail.portside.test, user: me}}
  replica: {{path: /mnt/replica}}
tls: {{mode: acme, email: ops@portside.test}}
namespaces: {{images: {{hold: clamav}}}}
"""
"""A cluster with whatever puts files on its nodes."""


@pytest.mark.usefixtures("release")
@pytest.mark.parametrize("text", [CLUSTER, ALL_OF_IT], ids=["plain", "all of it"])
@pytest.mark.parametrize(("node_id", "role"), [("s01", "storage"), ("c01", "control")])
def test_every_file_that_a_deploy_writes_is_taken_away_again(
    secrets: Path, node_id: str, role: str, text: str
) -> None:
    """Whoever adds a file to a component finds here that it has to go as well."""
    (secrets.parent.parent / "cluster.yaml").write_text(text)
    for name in ("alerts.password", "webhook.token"):
        (secrets / name).write_text("only-for-tests\n")
        (secrets / name).chmod(0o600)
    shows = {
        f"{layout.AGENT_COMMAND} identity": ["made", KEY.model_dump_json()],
        "getent ahosts": ["address 192.0.2.9", "disk 107374182400"],
        "ip -oneline address": ["certified", "debian 12"],
    }
    script = "site.py" if text == CLUSTER else f"{role}_node.py"
    commands = fake_host.deploy(script, {**PRISTINE, **shows}, node_id, [role])
    written = {
        path
        for command in commands
        for path in re.findall(r"mv -fT \S+/\.candidate-\S+ '?([^\s']+)'?", command)
    }
    assert len(written) > 20
    if text == ALL_OF_IT:
        here = layout.MAIL_PASSWORD if role == "control" else "/etc/clamav/clamd.conf"
        assert here in written
        assert layout.NODE_EXPORTER_SERVICE in "".join(written)
    singles = {path for _, each in REMOVALS for path in each.paths(keep_identity=False)}
    trees = tuple(f"{tree}/" for _, each in REMOVALS for tree in each.trees)
    # Debian's own comes back in place of ours; the marker is the data's; clamd has no other.
    known = {nginx.FILE, f"/srv/portside/{layout.MARKER}", *BANNERS, "/etc/clamav/clamd.conf"}
    left = {path for path in written - singles - known if not path.startswith(trees)}
    assert left == set()


@pytest.mark.parametrize("root", [layout.HOME, f"{layout.STATE}/data", f"{layout.CONTROL_HOME}/x"])
def test_data_in_a_folder_that_goes_is_not_removed_with_it(root: str) -> None:
    with pytest.raises(PyinfraError, match=f"uploads.root is {root}, in .*: nothing was"):
        leaving.must_be_apart(root)


@pytest.mark.usefixtures("secrets")
def test_what_writes_data_is_stopped_before_data_goes() -> None:
    there = everything_there()
    paths = leaving.CONTROL_DATA.paths(keep_identity=False)
    there[Leftovers().command(paths=paths)] = [f"left {path}" for path in paths]
    commands = uninstall(there, "everything-and-data")
    gone = position(commands, "rm -rf", layout.CONTROL_HOME, layout.CONTROL_BACKUPS)
    for service in (layout.CONTROL_SERVICE, layout.BACKUP_TIMER, layout.REPLICA_SERVICE):
        assert position(commands, "systemctl disable", service) < gone


@pytest.mark.usefixtures("secrets")
def test_a_machine_without_portside_is_left_as_it_is() -> None:
    for way in ("everything", "everything-and-data", "programs"):
        commands = uninstall(PRISTINE, way)
        # Looked at, and nothing else: what is said of the banners is for those that stand aside.
        looks = ("echo left", "dpkg-divert --truename")
        assert [each for each in commands if not any(look in each for look in looks)] == []


@pytest.mark.usefixtures("secrets")
def test_the_node_is_stopped_first_and_the_deploys_own_goes_last() -> None:
    commands = uninstall(everything_there(), "everything")
    order = [
        position(commands, layout.DISK_SERVICE),
        position(commands, layout.AGENT_SERVICE, layout.RELEASES),
        position(commands, "--reinstall", "nginx-common"),
        position(commands, "userdel"),
        position(commands, f"--preserve-root=all {layout.STATE}"),
    ]
    assert order == sorted(order)
    assert order[-1] == len(commands) - 1
    assert not any("/srv/portside" in each for each in commands)
    assert not any(layout.CONTROL_HOME + " " in each for each in commands if "rm -rf" in each)


@pytest.mark.usefixtures("secrets")
def test_a_reinstall_keeps_keys_data_users_and_what_serves_downloads() -> None:
    removed = "\n".join(uninstall(everything_there(), "programs"))
    assert layout.AGENT_TOML in removed and layout.RELEASES in removed
    kept = (layout.NODE_KEY, layout.TLS_PAIR, layout.CA_CERTIFICATE, layout.ACME_HOME, nginx.FILE)
    for each in (*kept, "userdel", "firewall.nft", "/srv/portside", layout.CONTROL_HOME):
        assert f"{each} " not in removed.replace("\n", " \n") + " ", each


@pytest.mark.usefixtures("secrets")
def test_a_run_that_does_not_say_what_goes_takes_nothing() -> None:
    with pytest.raises(PyinfraError, match="say what goes"):
        uninstall(PRISTINE, "all")
    with pytest.raises(PyinfraError, match="say which node leaves"):
        fake_host.deploy("retire_node.py", PRISTINE, "s01", ["storage"])


@pytest.mark.usefixtures("secrets")
def test_a_retired_node_stops_and_serves_nothing() -> None:
    commands = fake_host.deploy("retire_node.py", PRISTINE, "s01", ["storage"], leaving="s01")
    position(commands, "systemctl disable --quiet --now", layout.AGENT_SERVICE)
    position(commands, "nginx -t -q -c")
    # That it was let go is said once it was looked at again: until then its data isn't to go.
    assert not any(layout.RETIRED in each for each in commands)
    assert not any("rm " in each and "/srv/portside" in each for each in commands)


@pytest.mark.usefixtures("secrets")
def test_the_others_get_the_roster_alone() -> None:
    commands = fake_host.deploy("retire_node.py", PRISTINE, "c01", ["control"], leaving="s01")
    position(commands, "mv -fT", layout.ROSTER)
    assert not any("systemctl" in each for each in commands)


def test_nginx_of_a_retired_node_knows_no_file_and_no_upload(make_node: MakeNode) -> None:
    node = make_node()
    whole, text = nginx.configuration(node), nginx.configuration(node, roles=())
    for each in ("listen 443", "alias /srv/portside/uploads", "proxy_pass"):
        assert each in whole and each not in text


# -- on a real disk --------------------------------------------------------------------------------


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ThisComputer:
    computer = ThisComputer()
    for module in (leaving, removal):
        monkeypatch.setattr(module, "host", computer)
    monkeypatch.setattr(removal, "BEGUN", str(tmp_path / "removal-"))
    return computer


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder of a node's data, with a file of its own and what an operator put there."""
    root = tmp_path / "data"
    for name in ("uploads/files/2026", "staging", "quarantine", "ended", "state"):
        (root / name).mkdir(parents=True)
    (root / layout.MARKER).write_text("s01\n")
    (root / "state" / "index.sqlite").write_text("index")
    for name in ("a.bin", "a.bin.attr.json"):
        (root / "uploads" / "files" / "2026" / name).write_text("ours")
    return root


def gone(root: Path, node_id: str = "s01") -> str:
    _, said = run_all(list(data_gone._inner(root=str(root), node_id=node_id)))
    return said


@pytest.mark.usefixtures("here")
def test_the_data_goes_with_its_folder_and_again_is_nothing(data: Path) -> None:
    assert gone(data) == ""
    assert not data.exists()
    assert list(data_gone._inner(root=str(data), node_id="s01")) == []


@pytest.mark.usefixtures("here")
def test_what_an_operator_put_beside_the_data_stays(data: Path) -> None:
    theirs = [data / "notes.txt", data / "uploads" / "files" / "theirs.iso"]
    for each in theirs:
        each.write_text("theirs")
    assert gone(data) == ""
    assert sorted(path for path in data.rglob("*") if path.is_file()) == sorted(theirs)


@pytest.mark.usefixtures("here")
def test_another_nodes_data_is_not_removed(data: Path) -> None:
    assert "doesn't say that it holds the files of s02: nothing is removed" in gone(data, "s02")
    assert (data / "uploads" / "files" / "2026" / "a.bin").exists()


@pytest.mark.usefixtures("here")
def test_what_broke_off_is_finished(data: Path) -> None:
    (data / "uploads" / "files" / "2026" / "a.bin").unlink()
    assert gone(data) == ""
    assert not data.exists()


@pytest.mark.usefixtures("here")
def test_a_folder_goes_only_when_nothing_else_is_in_it(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "etc" / "ours.toml", tmp_path / "etc" / "theirs.toml"
    ours.parent.mkdir()
    ours.write_text("")
    theirs.write_text("")
    link = tmp_path / "current"
    link.symlink_to(tmp_path / "nowhere")
    what = Removal(files=(str(ours), str(link)), folders=(str(ours.parent),))
    assert run_all(list(taken_away._inner(removal=what)))[1] == ""
    assert not ours.exists() and not link.is_symlink() and theirs.exists()
    assert list(taken_away._inner(removal=what)) == []


@pytest.mark.usefixtures("here")
def test_what_comes_after_the_files_is_done_by_the_next_run_too(tmp_path: Path) -> None:
    ours, done = tmp_path / "ours.toml", tmp_path / "done"
    ours.write_text("")
    killed = f"[ -e {tmp_path}/again ] || exit 1; touch {done}"
    what = Removal(files=(str(ours),), then=killed)
    run_all(list(taken_away._inner(removal=what)))
    assert not ours.exists() and not done.exists()
    (tmp_path / "again").touch()
    assert run_all(list(taken_away._inner(removal=what)))[1] == ""
    assert done.exists()
    assert list(taken_away._inner(removal=what)) == []


@pytest.mark.parametrize("debians", [False, True], ids=["before apt", "after apt"])
def test_nginx_is_finished_after_a_run_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debians: bool
) -> None:
    conf, aside = tmp_path / "nginx.conf", tmp_path / "nginx.conf.portside"
    aside.write_text("# Written by Portside\n")
    if debians:
        conf.write_text("Debian's\n")
    machine = Programs(tmp_path)
    machine.make("apt-get", f'[ -e {conf} ] || echo "Debian\'s" > {conf}')
    done = machine.run(leaving._DEBIANS_NGINX.replace(nginx.FILE, str(conf)))
    assert done.returncode == 0, done.stderr
    assert conf.read_text() == "Debian's\n" and not aside.exists()
