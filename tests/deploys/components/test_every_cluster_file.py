"""What `portside cluster check` calls right can be deployed: each node gets all its files."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from agent import settings as agent_settings
from control.settings import Settings as ControlSettings
from deploys.components import acme, agent, clamav, control, control_database, control_replica
from deploys.components import nginx as nginx_component
from deploys.components.machine import disk
from deploys.hosts.node import Node, StorageNode
from deploys.operations.rendering import render
from portside.cluster.file import Cluster, ClusterError, parse
from tests.support import nginx_process
from tests.support.deploys.nodes import MakeControl

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMESPACES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True)
ODD = ["'", '"', "\\", "a b", "$host", "%h", "{{ x }}", "ü", "\U0001f4bf", "\x7f"]
SIZES = st.integers(0, 2**60) | st.sampled_from(["64 GB", "1KiB", "3MiB", "2GiB", "1TiB", "100MiB"])
DURATIONS = st.integers(0, 10**10) | st.sampled_from(["15s", "90s", "1h30m", "7d", "400d"])
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["'", '"', "\\", "a b", "$host", "%h", "{{ x }}", "ü", "\U0001f4bf", "\x7f"]
)
SHARES = st.floats(0, 1) | st.integers(0, 1)
FOLDERS = st.sampled_from(
    ["/srv/portside", "/mnt/a-b_c.d", "/data", "/srv/ü", "/srv/x/"]
) | st.from_regex(r"/[\w.-]{1,12}(/[\w.-]{1,8})?", fullmatch=True)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with some of these keys: what a person leaves out is the default."""
    return st.fixed_dictionaries({}, optional=keys)


BUCKETS = {
    "bucket": st.from_regex(r"[a-z0-9][a-z0-9.-]{1,8}[a-z0-9]", fullmatch=True),
    "endpoint": st.sampled_from(["https://s3.example.net", "http://[2001:db8::1]:9000"]),
    "prefix": st.sampled_from(["", "a/", "a=b/c_d/"]),
    "region": LABELS,
}
QUOTAS = some(bytes=SIZES | st.just("unlimited"), files=st.integers(0, 2**61) | st.none())
RATES = st.integers(65536, 2**40)

SECTIONS: dict[str, st.SearchStrategy[Any]] = {
    "uploads": some(
        root=FOLDERS,
        max_size=SIZES,
        session_deadline=DURATIONS,
        filesystem=st.sampled_from(["ext4", "xfs"]),
        extensions=st.lists(st.sampled_from([".iso", "HTML", ".tar.gz", "svg", ".js"]), max_size=3),
        private=st.lists(NAMESPACES, max_size=3),
    ),
    "namespaces": st.dictionaries(
        NAMESPACES,
        some(
            hold=st.sampled_from(["api", "clamav"]),
            max_age=DURATIONS,
            lifetime=DURATIONS,
            max_lifetime=DURATIONS,
        ),
        max_size=3,
    ),
    "lifetimes": some(grace=DURATIONS),
    "limits": some(
        uploads_per_owner=st.integers(1, 100_000),
        requests_per_address=st.integers(1, 1_000_000),
        control_requests_per_address=st.integers(1, 1_000_000),
        slots_per_token=st.integers(1, 512),
        slots_per_owner=SHARES,
        promised_per_owner=SHARES,
        slots_per_address=SHARES,
        shared_addresses=st.lists(st.sampled_from(["192.0.2.7", "2001:db8::/32"])),
        least_rate=st.integers(1, 1024**2),
        bandwidth=some(upload=RATES, owner=RATES, node=RATES, download=RATES, downloads=RATES),
    ),
    "quotas": some(
        default=QUOTAS,
        owners=st.dictionaries(TEXTS, QUOTAS, max_size=3),
        apps=st.dictionaries(LABELS, QUOTAS, max_size=2),
    ),
    "scrub": some(rate=SIZES, every=DURATIONS),
    "hooks": st.lists(
        st.fixed_dictionaries(
            {
                "namespace": NAMESPACES | st.just("*"),
                "command": st.lists(TEXTS, min_size=1, max_size=3),
            }
        )
        | st.fixed_dictionaries(
            {
                "namespace": NAMESPACES,
                "url": st.sampled_from(["https://a.b/c?d='e'", "http://[::1]/"]),
            }
        ),
        max_size=2,
    ),
    "cold": st.fixed_dictionaries(
        {"bucket": BUCKETS["bucket"]},
        optional={
            **{key: each for key, each in BUCKETS.items() if key != "bucket"},
            "rate": SIZES,
            "keep_deleted": DURATIONS | st.sampled_from([False, "forever"]),
            "namespaces": st.lists(NAMESPACES, max_size=2),
        },
    ),
    "hardening": st.sampled_from(["off", "standard", "strict"]),
    "firewall": some(
        mode=st.sampled_from(["on", "off"]),
        allow=st.lists(st.sampled_from(["51820/udp", "1-2/tcp", "9100/tcp from 2001:db8::/32"])),
    ),
    "cors": some(
        origins=st.lists(
            st.sampled_from(
                ["https://a.example.net", "https://*.b.net", "null", "http://[::1]:3000", "x+y://z"]
            )
        )
        | st.just(["*"])
    ),
    "nginx": some(keep=st.booleans()),
    "tls": some(mode=st.just("lab"))
    | st.fixed_dictionaries(
        {
            "mode": st.just("acme"),
            "email": st.sampled_from(["a@b.c", 'x"y@b.c', "ü@b.c"]),
        },
        optional={
            "staging": st.booleans(),
            "profile": st.sampled_from(["shortlived", "x"]),
            "hsts": some(max_age=DURATIONS, include_subdomains=st.booleans()),
        },
    ),
    "replication": some(
        factor=st.integers(1, 3),
        ack=st.sampled_from(["local", "replicated"]),
        parallel=st.integers(1, 16),
        rate=SIZES,
    ),
    "control": some(
        url=st.sampled_from(["https://control.example.net", "https://x.net:444/"]),
        database=st.sampled_from(["sqlite", "postgresql", "postgresql://u:p%40'\"@h/d?x=y"]),
        heartbeat=st.integers(1, 300),
        dead_after=st.integers(3, 86400),
        repair_after=DURATIONS,
        backups=st.integers(1, 10_000),
        probe=st.booleans(),
        replica=st.fixed_dictionaries({"path": FOLDERS}, optional={"keep": DURATIONS})
        | st.fixed_dictionaries({"bucket": st.fixed_dictionaries({**BUCKETS})}),
    ),
    "clamd": st.sampled_from(["tcp:192.0.2.7", "unix:/run/x.ctl"]),
}

SEVERAL = [
    {"s01": {}, "c01": {}},
    {"s01": {}, "s02": {"weight": 0, "tier": "cold"}, "s03": {}, "c01": {}},
    {"s01": {"roles": ["storage", "control"], "device": "/dev/vdb"}},
    {"s01": {}, "c01": {}, "c02": {}},
    {"s01": {}},
]


@st.composite
def cluster_files(draw: st.DrawFn) -> dict[str, Any]:
    """A few sections each, so that most of them are right."""
    chosen = draw(st.lists(st.sampled_from(sorted(SECTIONS)), unique=True, max_size=4))
    return {
        "name": draw(LABELS),
        "domain": draw(
            st.sampled_from(["example.net", f"{'a' * 63}.net", ".".join(["abcdefgh-jklmno"] * 15)])
        ),
        "nodes": draw(st.sampled_from(SEVERAL)),
        **{name: draw(SECTIONS[name]) for name in chosen},
    }


def _right(data: dict[str, Any]) -> Cluster | None:
    try:
        return parse(yaml.safe_dump(data, allow_unicode=True))
    except ClusterError:
        return None


def _files(node: Node, folder: Path) -> None:
    """All that a deploy renders for a node; what has a reader here is read."""
    assert (
        nginx_process.check(nginx_process.write(nginx_component.configuration(node), folder)) == ""
    )
    if node.cluster.tls.mode == "acme":
        assert tomllib.loads(acme.settings(node))
    assert render("nftables/firewall.nft.j2", ports=node.ports, allowed=node.cluster.firewall.rules)
    if isinstance(node, StorageNode):
        _storage_files(node, folder)
    if "control" in node.roles:
        _control_files(node)


def _storage_files(node: StorageNode, folder: Path) -> None:
    path = folder / "agent.toml"
    path.write_text(agent.agent_settings(node), encoding="utf-8")
    read = agent_settings.load(path)
    assert read.hooks == node.cluster.hooks
    assert read.max_size == node.cluster.uploads.max_size
    ast.parse(agent.gunicorn_settings(node))
    assert all(agent.units(node).values())
    if node.mount is not None:
        assert disk.watch_command(node, node.mount)
        assert disk.watch_unit(node.mount)
    if node.cluster.installs_clamd:
        assert clamav.settings() and clamav.override()


def _control_files(node: Node) -> None:
    told = tomllib.loads(control.control_settings(node))
    read = ControlSettings.model_validate(told)
    # An owner of whom nothing is said is none there.
    assert read.quotas.for_toml() == node.cluster.quotas.for_toml()
    ast.parse(control.gunicorn_settings(node))
    ast.parse(control_database.backup_command(node.cluster))
    assert all({**control.units(node), **control_database.backup_units(node)}.values())
    replica = node.cluster.control.replica
    if replica is not None:
        assert yaml.safe_load(control_replica.replica_settings(replica))
        assert control_replica.replica_unit(node, replica)


@hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=cluster_files())
def test_what_the_check_calls_right_is_rendered_and_read(
    make_control: MakeControl, data: dict[str, Any]
) -> None:
    cluster = _right(data)
    if cluster is None:
        return
    for node_id in cluster.nodes:
        with TemporaryDirectory() as folder:
            _files(make_control(cluster=cluster, node_id=node_id), Path(folder))


def test_most_of_what_is_tried_is_right() -> None:
    """Else the test above would show nothing."""
    tried: list[bool] = []

    @hypothesis_settings(max_examples=100, deadline=None, database=None)
    @given(data=cluster_files())
    def count(data: dict[str, Any]) -> None:
        tried.append(_right(data) is not None)

    count()
    assert sum(tried) > len(tried) / 4
