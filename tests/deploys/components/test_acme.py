"""A certificate from an ACME authority in a whole deploy: in the right order, refused in time, and
gone without a trace when the cluster file wants another."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace

import pytest
from pyinfra.api.exceptions import PyinfraError
from pyinfra.context import ctx_host

from deploys import layout
from deploys.components import acme
from deploys.components.tls import HAS_ONE, PLACEHOLDER
from deploys.hosts import public_name
from deploys.hosts.judgement import Judgement
from portside.cluster.acme import LETS_ENCRYPT, LETS_ENCRYPT_STAGING
from portside.cluster.file import parse
from tests.support.cluster_files import CLUSTER
from tests.support.deploys import fake_host
from tests.support.deploys.fake_host import PRISTINE, position
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.this_computer import shell

ACME = "tls: {mode: acme, email: ops@portside.test}\n"
ADDRESS = ip_address("192.0.2.7")
RESERVED = ip_address("203.0.113.9")
NAMED = {**PRISTINE, "ip -oneline address": ["address 192.0.2.7", "debian 12"]}


@pytest.fixture
def cluster_file(secrets: Path, release: object, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster whose nodes have the same name, which leads where a test says."""
    path = secrets.parent.parent / "cluster.yaml"
    path.write_text(CLUSTER + ACME)
    _lead_to(monkeypatch, ADDRESS)
    monkeypatch.setattr(public_name, "closed", lambda *_: Judgement((), ()))
    monkeypatch.setattr(
        public_name, "astray", lambda name, path, expected, beside: Judgement((), ())
    )
    return path


def _lead_to(monkeypatch: pytest.MonkeyPatch, *addresses: public_name.Address) -> None:
    monkeypatch.setattr(public_name, "resolve", lambda name: frozenset(addresses))


@pytest.mark.usefixtures("cluster_file")
@pytest.mark.parametrize(
    ("script", "node_id", "role"),
    [
        ("site.py", "s01", "storage"),
        ("site.py", "c01", "control"),
        ("storage_node.py", "s01", "storage"),
        ("control_node.py", "c01", "control"),
    ],
)
def test_nginx_answers_at_port_80_before_an_authority_is_asked(
    script: str, node_id: str, role: str
) -> None:
    commands = fake_host.deploy(script, NAMED, node_id, [role])
    order = [
        position(commands, "openssl req -x509", "no certificate yet"),
        position(commands, "nginx -t -q -c"),
        position(commands, "echo portside-", "acme-challenge"),
        position(commands, f"systemctl start {layout.CERTIFICATE_SERVICE}"),
        position(commands, "mv -fT", layout.ROSTER),
    ]
    assert order == sorted(order)
    assert position(commands, "apt-get install", "certbot") < order[2]


def test_a_name_that_does_not_lead_here_is_refused_before_anything_is_changed(
    cluster_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lead_to(monkeypatch)
    with pytest.raises(
        PyinfraError,
        match=r"s01: s01\.portside\.test doesn't resolve: create",
    ):
        fake_host.deploy("site.py", NAMED, "s01", ["storage"])
    # One that has its certificate goes on: what is wrong around it shows when it is to be renewed.
    certified = {**PRISTINE, "ip -oneline address": ["certified", "debian 12"]}
    commands = fake_host.deploy("site.py", certified, "s01", ["storage"])
    assert not any("echo portside-" in command for command in commands)


def test_what_ssh_reaches_is_the_nodes_whether_it_knows_that_address_or_not(
    cluster_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that the provider translates, beside a public one of the node's own."""
    _lead_to(monkeypatch, RESERVED)
    with pytest.raises(PyinfraError, match=r"leads to 203\.0\.113\.9, which is none of this"):
        fake_host.deploy("site.py", NAMED, "s01", ["storage"])
    cluster_file.write_text(CLUSTER.replace("s01: {}", f"s01: {{address: {RESERVED}}}") + ACME)
    fake_host.deploy("site.py", NAMED, "s01", ["storage"])


def test_of_a_name_that_ssh_takes_too_the_address_that_answered_is_the_nodes(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport = SimpleNamespace(getpeername=lambda: (str(RESERVED), 22))
    client = SimpleNamespace(get_transport=lambda: transport)
    found = public_name.Certified(certified=False, addresses=frozenset({ADDRESS}), debian=13)
    known = {"s01.portside.test": frozenset({ADDRESS, RESERVED}), str(RESERVED): {RESERVED}}
    monkeypatch.setattr(public_name, "resolve", lambda name: frozenset(known[name]))
    monkeypatch.setattr(public_name, "closed", lambda *_: Judgement((), ()))
    with ctx_host.use(SimpleNamespace(connector=SimpleNamespace(client=client))):
        assert acme.names_and_ports(make_node(), found) == []
        known["s01.portside.test"] |= {ip_address("203.0.113.10")}
        (wrong,) = acme.names_and_ports(make_node(), found)
    assert "leads to 203.0.113.10, which is none of this node's" in wrong


def test_a_profile_that_the_nodes_certbot_does_not_know_is_refused(cluster_file: Path) -> None:
    cluster_file.write_text(CLUSTER + ACME.replace("}", ", profile: shortlived}"))
    with pytest.raises(PyinfraError, match=r"tls\.profile: shortlived needs .* this is 12"):
        fake_host.deploy("site.py", NAMED, "s01", ["storage"])
    newer = {**PRISTINE, "ip -oneline address": ["address 192.0.2.7", "debian 13"]}
    fake_host.deploy("site.py", newer, "s01", ["storage"])


@pytest.mark.usefixtures("cluster_file")
def test_what_answers_elsewhere_costs_no_try_at_the_authority(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = Judgement(("somebody else",), ())
    monkeypatch.setattr(public_name, "astray", lambda name, path, expected, beside: judged)
    commands = fake_host.deploy("site.py", NAMED, "s01", ["storage"])
    refused = position(commands, "somebody else", "exit 1")
    # The double of a host runs on after a failure, a real one is left.
    assert refused < position(commands, f"systemctl start {layout.CERTIFICATE_SERVICE}")


@pytest.mark.usefixtures("secrets", "release")
def test_nothing_renews_a_certificate_that_is_no_longer_asked_for() -> None:
    timer = f"{layout.UNITS}/{layout.CERTIFICATE_TIMER}"
    left = {**PRISTINE, f"{timer} ": [f"file 644 root root 0 {timer}"]}
    commands = fake_host.deploy("site.py", left, "s01", ["storage"])
    gone = position(commands, f"--now {layout.CERTIFICATE_TIMER}", "rm -f", timer)
    assert position(commands, "nginx -t -q -c") < gone


@pytest.mark.parametrize(
    ("said", "directory", "profile", "authority"),
    [
        ("", LETS_ENCRYPT, "", ""),
        (", staging: true", LETS_ENCRYPT_STAGING, "", ""),
        (
            ", directory_url: 'https://ca.test:9000/acme/dir', profile: short, authority: ca.pem",
            "https://ca.test:9000/acme/dir",
            "short",
            layout.CA_CERTIFICATE,
        ),
    ],
)
def test_the_node_asks_the_authority_that_the_cluster_file_names(
    make_node: MakeNode, said: str, directory: str, profile: str, authority: str
) -> None:
    cluster = parse(CLUSTER + ACME.replace("}", f"{said}}}"))
    settings = tomllib.loads(acme.settings(make_node(cluster=cluster)))
    assert settings["host"] == "s01.portside.test"
    found = settings["directory_url"], settings["profile"], settings["authority"]
    assert found == (directory, profile, authority)


def test_a_placeholder_is_made_once_and_never_in_place_of_a_certificate(
    tmp_path: Path,
) -> None:
    def here(text: str) -> str:
        return text.replace(layout.TLS, str(tmp_path))

    assert shell(here(HAS_ONE)).returncode != 0
    done = shell(here(PLACEHOLDER))
    assert done.returncode == 0, done.stderr
    assert shell(here(HAS_ONE)).returncode == 0
    pair = tmp_path / "node.pem"
    made = pair.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["node.pem"]
    # Owner and mode are mended, what it holds stays.
    pair.chmod(0o644)
    assert shell(here(HAS_ONE)).returncode != 0
    assert shell(here(PLACEHOLDER)).returncode == 0
    assert (pair.read_bytes(), pair.stat().st_mode & 0o777) == (made, 0o600)
    pair.write_text("nonsense")
    assert shell(here(PLACEHOLDER)).returncode == 0
    assert shell(here(HAS_ONE)).returncode == 0
