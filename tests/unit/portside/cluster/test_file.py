"""The cluster file: what follows from it, and that every mistake is told at once."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from portside.alerting.destinations import Alerts
from portside.cluster.file import (
    Cluster,
    ClusterError,
    NoClusterFile,
    NodeSettings,
    find,
    load,
    parse,
)
from portside.cluster.replica import Replica
from portside.cluster.roles import ROLES

ROOT = Path(__file__).parents[4]
SMALL = "name: a\ndomain: example.net\nnodes: {s01: {}}\n"
WITH_CONTROL = "name: a\ndomain: example.net\nnodes: {s01: {}, c01: {}}\n"


def problems(text: str) -> list[str]:
    with pytest.raises(ClusterError) as error:
        parse(text)
    return error.value.problems


# -- what follows ----------------------------------------------------------------------------------


def test_names_and_urls_follow_from_node_and_domain() -> None:
    cluster = parse(SMALL)
    assert cluster.host("s01") == "s01.example.net"
    assert cluster.public_base_url("s01") == "https://s01.example.net"
    assert cluster.upload_api_url("s01") == "https://s01.example.net/api/internal/upload"


def test_a_nodes_own_roles_win_over_its_name() -> None:
    cluster = parse(
        "name: a\ndomain: a.b\nnodes: {s01: , c01: {roles: [storage]}, b: {roles: [control]}}"
    )
    assert cluster.with_role("storage") == ("s01", "c01")
    assert cluster.with_role("control") == ("b",)


def test_nodes_keep_the_files_order() -> None:
    cluster = parse("name: a\ndomain: a.b\nnodes: {s03: {}, s01: {}, s02: {}}")
    assert cluster.with_role("storage") == ("s03", "s01", "s02")


@pytest.mark.parametrize(
    ("nodes", "url"),
    [
        ("{s01: {}}", None),
        ("{s01: {}, c02: {}, c01: {}}", "https://c02.a.b"),
        ("{s01: {}, box1: {roles: [storage, control]}, c01: {}}", "https://box1.a.b:8443"),
    ],
)
def test_the_control_planes_url_follows_from_the_first_control_node(
    nodes: str, url: str | None
) -> None:
    database = "control: {database: 'postgresql://db.a.b/d'}\n" if url else ""
    assert parse(f"name: a\ndomain: a.b\n{database}nodes: {nodes}").control_url == url


@pytest.mark.parametrize("url", ["https://control.example.com", "https://x.net:444"])
def test_a_control_url_that_is_given_is_used(url: str) -> None:
    assert parse(SMALL + f"control: {{url: '{url}/'}}").control_url == url


def test_a_database_password_never_shows() -> None:
    cluster = parse(WITH_CONTROL + "control: {database: 'postgresql://u:hunter2@h/d'}")
    assert "hunter2" not in repr(cluster)
    assert "hunter2" not in cluster.model_dump_json()


# -- mistakes --------------------------------------------------------------------------------------


def test_every_mistake_is_told_at_once_with_its_key() -> None:
    told = problems(
        """
name: Example
domain: nowhere
nodes: {s01: {weight: -1}, s02: {tire: hot}, bad_name: {}, lonely: {}}
uploads: {max_size: huge, root: relative}
cors: {origins: ['https://a.b/path']}
tls: {mode: acme}
replication: {factor: 99}
control: {database: mysql}
colour: blue
"""
    )
    for key in (
        "name:",
        "domain:",
        "nodes.s01.weight:",
        "nodes.s02.tire: is no key",
        "nodes.bad_name:",
        "uploads.max_size:",
        "uploads.root:",
        "cors.origins.0:",
        "tls:",
        "replication.factor:",
        "control.database:",
        "colour: is no key",
    ):
        assert any(problem.startswith(key) for problem in told), (key, told)


def test_mistakes_across_keys_are_told_beside_the_others() -> None:
    told = problems(
        "name: A\ndomain: a.b\nnodes: {lonely: {}, stray: {}, s01: {}}\nreplication: {factor: 2}"
    )
    assert [line.split(":")[0] for line in told] == ["name", "nodes"]
    assert "lonely, stray" in told[1]
    told = problems("name: A\ndomain: a.b\nnodes: {s01: {}}\nreplication: {factor: 2}")
    assert [line.split(":")[0] for line in told] == ["name", "replication"]


@pytest.mark.parametrize(
    ("addition", "key"),
    [
        ("ssh: {user: 'a b'}", "ssh.user"),
        ("ssh: {port: 0}", "ssh.port"),
        ("roles: {storage: '('}", "roles"),
        ("roles: {router: '^r'}", "roles.router"),
        ("uploads: {root: /srv/../etc}", "uploads.root"),
        ("uploads: {root: '/srv/a b'}", "uploads.root"),
        ("uploads: {root: '/srv/a;reboot'}", "uploads.root"),
        ("uploads: {extensions: ['/']}", "uploads.extensions"),
        ("uploads: {session_deadline: 1s}", "uploads.session_deadline"),
        ("uploads: {max_size: true}", "uploads.max_size"),
        ("cors: {origins: ['*', 'https://a.b']}", "cors.origins"),
        ('cors: {origins: ["https://a.b\\n"]}', "cors.origins"),
        ("cors: {origins: ['https://a.b/']}", "cors.origins"),
        ("cors: {origins: ['a.b']}", "cors.origins"),
        ("cors: {origins: ['https://a.*.b']}", "cors.origins"),
        ("cors: {origins: ['https://*']}", "cors.origins"),
        ("cors: {origins: ['https://a b']}", "cors.origins"),
        ("cors: {origins: [1]}", "cors.origins"),
        ("tls: {mode: files}", "tls"),
        ("tls: {mode: acme, email: nobody}", "tls"),
        (
            "tls: {mode: acme, email: a@b.c, directory_url: 'http://ca.test/dir'}",
            "tls.directory_url",
        ),
        ("tls: {mode: acme, email: a@b.c, profile: 'six days'}", "tls.profile"),
        ("tls: {mode: acme, email: a@b.c, staging: true, directory_url: 'https://a.b/c'}", "tls"),
        ("tls: {mode: lab, staging: true}", "tls"),
        # Whoever was told to come with TLS alone, and doesn't trust it, is locked out.
        ("tls: {mode: lab, hsts: {max_age: 1d}}", "tls"),
        ("telemetry: {otlp: 'collector:4318'}", "telemetry.otlp"),
        ("telemetry: {otlp: 'https://user:secret@collector'}", "telemetry.otlp"),
        ("telemetry: {otlp: 'https://collector:4318?key=secret'}", "telemetry.otlp"),
        ("telemetry: {otlp: 'https://collector:99999'}", "telemetry.otlp"),
        ("telemetry: {otlp: 'https://a b'}", "telemetry.otlp"),
        ("telemetry: {otel: 'https://collector'}", "telemetry.otel"),
        ("tls: {mode: files, directory: x, hsts: {max_age: 900d}}", "tls.hsts.max_age"),
        ("tls: {mode: files, directory: x, hsts: {preload: true}}", "tls.hsts"),
        ("connect: telnet", "connect"),
        ("control: {url: 'http://a.b'}", "control.url"),
        ("control: {url: 'https://u@a.b'}", "control.url"),
        ("control: {url: 'https://a.b/c'}", "control.url"),
        ("control: {heartbeat: 0s}", "control.heartbeat"),
        ("control: {heartbeat: 1m}", "control"),
        ("control: {dead_after: 30s}", "control"),
        ("replication: {parallel: 0}", "replication.parallel"),
        ("replication: {rate: 1KiB}", "replication.rate"),
        ("limits: {bandwidth: {upload: 1KiB}}", "limits.bandwidth.upload"),
        ("limits: {bandwidth: {downloads: 2048GiB}}", "limits.bandwidth.downloads"),
        ("limits: {bandwidth: {owner: 2MiB, node: 1MiB}}", "limits.bandwidth"),
        ("limits: {bandwidth: {download: 2MiB, downloads: 1MiB}}", "limits.bandwidth"),
        ("limits: {bandwidth: {uploads: 1MiB}}", "limits.bandwidth.uploads"),
        ("namespaces: {images: {max_age: 400d}}", "namespaces.images.max_age"),
        ("namespaces: {images: {max_age: often}}", "namespaces.images.max_age"),
        ("namespaces: {images: {maxage: 1d}}", "namespaces.images.maxage"),
        ("namespaces: {'../x': {max_age: 1d}}", "namespaces"),
        ("uploads: {private: [a]}\nnamespaces: {a: {max_age: 1d}}", "namespaces"),
        ("hooks: [{namespace: a, events: [], url: 'https://a.b'}]", "hooks.0.events"),
        ("hooks: [{namespace: a, events: committed, url: 'https://a.b'}]", "hooks.0.events"),
    ],
)
def test_values_that_would_break_a_node_are_told(addition: str, key: str) -> None:
    told = problems(SMALL + addition)
    assert len(told) == 1
    assert told[0].startswith(f"{key}") and ": " in told[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("- a", "no mapping"),
        ("a: [", "not valid YAML"),
        ("name: a\nname: b", "'name' is there twice"),
        ("nodes: {s01: {}, s01: {weight: 2}}", "'s01' is there twice"),
        ("? [a]\n: b", "must be a plain word"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x00", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
        ('name: a\ndomain: "example.net\\n"\nnodes: {s01: {}}', "is no domain name"),
    ],
)
def test_what_is_no_cluster_file_says_so(text: str, message: str) -> None:
    assert message in problems(text)[0]


@given(st.text() | st.text("abc: {}[]-\n'\"&*!?|>", max_size=60))
def test_junk_raises_nothing_but_cluster_errors(text: str) -> None:
    with pytest.raises(ClusterError):
        parse(text)


def test_a_file_that_cant_be_read_is_a_cluster_error(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.yaml", "binary.yaml", "."):
        with pytest.raises(ClusterError, match="can't be read"):
            load(tmp_path / name)


# -- which file ------------------------------------------------------------------------------------


def test_the_file_in_use_is_named_own_or_the_labs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORTSIDE_CLUSTER", raising=False)
    with pytest.raises(NoClusterFile) as error:
        find(tmp_path)
    for word in ("cluster.yaml and clusters/lab.yaml in", str(tmp_path), "PORTSIDE_CLUSTER isn't"):
        assert word in str(error.value)
    (tmp_path / "clusters").mkdir()
    (tmp_path / "clusters" / "lab.yaml").touch()
    assert find(tmp_path) == tmp_path / "clusters" / "lab.yaml"
    (tmp_path / "cluster.yaml").touch()
    assert find(tmp_path) == tmp_path / "cluster.yaml"
    # As every path of a command is, it is seen from the current folder.
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PORTSIDE_CLUSTER", "clusters/other.yaml")
    assert find(tmp_path) == tmp_path / "here" / "clusters" / "other.yaml"
    monkeypatch.setenv("PORTSIDE_CLUSTER", "/etc/other.yaml")
    assert find(tmp_path) == Path("/etc/other.yaml")


@pytest.mark.parametrize("name", ["lab.yaml", "example.yaml"])
def test_the_cluster_files_that_come_along_are_right(name: str) -> None:
    load(ROOT / "clusters" / name)


def test_caches_keep_what_the_file_says_and_of_the_others_nothing_is_said() -> None:
    text = "namespaces: {images: {max_age: 1d}, live: {max_age: 0}, other: {}}"
    assert parse(SMALL + text).max_age == {"images": 86400, "live": 0}
    assert parse(SMALL).max_age == {}


# -- example.yaml is the reference -----------------------------------------------------------------


def _missing(model: type[BaseModel], shown: dict[str, Any], where: str = "") -> list[str]:
    missing = []
    for name, field in model.model_fields.items():
        if name not in shown:
            missing.append(where + name)
        elif isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            missing += _missing(field.annotation, shown[name], f"{where}{name}.")
    return missing


def test_the_example_shows_every_key() -> None:
    shown = yaml.safe_load((ROOT / "clusters" / "example.yaml").read_text())
    of_any_node = {key: value for node in shown["nodes"].values() for key, value in node.items()}
    assert _missing(Cluster, shown) == []
    assert _missing(NodeSettings, of_any_node) == []
    assert set(shown["roles"]) == set(ROLES)


def test_the_examples_defaults_are_the_defaults() -> None:
    example = load(ROOT / "clusters" / "example.yaml")
    plain = parse(SMALL)
    assert example.roles == plain.roles
    assert example.tls.hsts == plain.tls.hsts
    assert example.ssh == plain.ssh
    assert example.firewall == plain.firewall
    assert example.hardening == plain.hardening
    assert example.uploads.model_copy(
        update={"extensions": plain.uploads.extensions, "private": ()}
    ) == (plain.uploads)
    assert example.control.replica is not None
    assert example.control.replica.keep == Replica(path=PurePosixPath("/mnt/copy")).keep
    assert example.control.alerts is not None
    assert example.control.alerts.repeat == Alerts(webhook="https://a.test/").repeat
    unsaid = {"replica": None, "alerts": None}
    assert example.control.model_copy(update=unsaid) == plain.control


# -- who is told of alerts -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alerts", "why"),
    [
        ("{}", "nobody would be told"),
        ("{webhook: ftp://a.test/}", "alerts.webhook"),
        ("{webhook: 'https://user:hunter2@a.test/'}", "neither user nor password"),
        ("{webhook: 'https://a.test/#b'}", "no fragment"),
        ("{webhook: 'https://a.test/', heartbeat: 5s}", "5s is out of range: at least 1m"),
        ("{webhook: 'https://a.test/', repeat: 5m}", "5m is out of range: at least 1h"),
        ("{mail: {to: [], sender: a@b.test, host: b.test}}", "must have at least 1 entries"),
        ("{mail: {to: ['a <a@b.test>'], sender: a@b.test, host: b.test}}", "is no address"),
        ('{mail: {to: ["a@b.test\\nBcc: c@d.test"], sender: a@b.test, host: b}}', "is no address"),
        ("{mail: {to: [a@b.test], sender: a@b.test, host: b, tls: none, user: a}}", "without TLS"),
        (
            "{mail: {to: [a@b.test], sender: a@b.test, host: b}, heartbeat: 5m}",
            "only for a webhook",
        ),
        ("{mail: {to: [a@b.test], sender: a@b.test, host: b, password: x}}", "password"),
    ],
)
def test_alerts_that_could_not_be_told_are_refused(alerts: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why) as refused:
        parse(f"{SMALL}control: {{alerts: {alerts}}}\n")
    assert "hunter2" not in str(refused.value)


def test_a_mail_servers_port_follows_its_encryption() -> None:
    mail = "to: [a@b.test], sender: a@b.test, host: b.test"
    for tls, port in (("starttls", 587), ("tls", 465), ("none", 25)):
        read = parse(f"{SMALL}control: {{alerts: {{mail: {{{mail}, tls: {tls}}}}}}}\n")
        assert read.control.alerts is not None
        assert read.control.alerts.mail is not None
        assert read.control.alerts.mail.port_used == port


# -- the replica of the control plane's database ---------------------------------------------------


@pytest.mark.parametrize(
    ("replica", "why"),
    [
        ("{}", "exactly one of path, sftp and bucket"),
        ("{path: /mnt/a, bucket: {bucket: abc}}", "exactly one of path, sftp and bucket"),
        ("{path: mnt/a}", "an absolute path"),
        ("{path: /}", "a folder of its own"),
        ("{path: /tmp/a}", "services don't see"),
        ("{path: /mnt/a, keep: 10m}", "10m is out of range: at least 1h"),
        ("{bucket: {bucket: abc, namespaces: [isos]}}", "of the cold tier"),
        ("{sftp: {host: a, user: b, path: /c}}", "host_key"),
        ("{sftp: {host: a, user: b, path: /c, host_key: SHA256:abc}}", "must be a public key"),
        ("{sftp: {host: '-oProxyCommand=x y', user: b, path: /c, host_key: x}}", "sftp.host"),
    ],
)
def test_a_replica_that_could_not_be_made_is_refused(replica: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why):
        parse(f"{SMALL}control: {{replica: {replica}}}\n")


@pytest.mark.parametrize(
    "database", ["postgresql", "postgresql://portside@db.example.net/portside"]
)
def test_with_postgresql_it_is_said_what_to_use_in_place_of_a_replica(database: str) -> None:
    with pytest.raises(ClusterError, match=r"pgBackRest or wal-g.*leave `replica` out"):
        parse(f"{SMALL}control: {{database: '{database}', replica: {{path: /mnt/a}}}}\n")


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://App.Example.net", "https://app.example.net"),
        ("https://app.example.net:443", "https://app.example.net"),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
        ("https://*.example.net", "https://*.example.net"),
        ("null", "null"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(written: str, sent: str) -> None:
    cluster = parse(f"{SMALL}cors: {{origins: ['{written}']}}\n")
    assert cluster.cors.origins == (sent,)
