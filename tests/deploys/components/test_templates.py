"""Every rendered file is what the program that reads it takes."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest
from gunicorn.config import Config

from agent import settings
from deploys import layout
from deploys.components import agent, control, nginx
from deploys.components.machine import tuning
from deploys.hosts import facts
from deploys.operations.rendering import render
from portside.cluster.file import parse
from portside.quantities import GIB, MIB
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeControl, MakeNode


def test_the_agent_reads_its_settings(make_node: MakeNode, tmp_path: Path) -> None:
    node = make_node()
    path = tmp_path / "agent.toml"
    path.write_text(agent.agent_settings(node))
    read = settings.load(path)
    assert (read.node_id, read.public_base_url) == ("s01", "https://s01.portside.test")
    assert read.sizing == node.sizing
    assert read.extensions == node.cluster.uploads.extensions
    assert read.max_size == node.cluster.uploads.max_size


def test_the_agent_reads_the_bounds_of_bandwidth(make_node: MakeNode, tmp_path: Path) -> None:
    limits = "limits: {bandwidth: {upload: 1MiB, owner: 2MiB, downloads: 3MiB}}\n"
    path = tmp_path / "agent.toml"
    path.write_text(agent.agent_settings(make_node(cluster=parse(CLUSTER + limits))))
    read = settings.load(path).bandwidth
    assert (read.upload, read.owner, read.node) == (1 * MIB, 2 * MIB, None)
    assert (read.download, read.downloads) == (None, 3 * MIB)
    # An older release reads settings without any.
    assert "bandwidth" not in agent.agent_settings(make_node())


def test_agent_and_control_plane_read_where_spans_go(make_node: MakeNode, tmp_path: Path) -> None:
    named = CLUSTER + "telemetry: {otlp: 'https://collector.example.net:4318/'}\n"
    for cluster, expected in (
        (parse(named), "https://collector.example.net:4318"),
        # What is as it always was is written as it always was: an older release reads it too.
        (parse(CLUSTER), None),
    ):
        path = tmp_path / "agent.toml"
        path.write_text(agent.agent_settings(make_node(cluster=cluster)))
        assert settings.load(path).otlp == expected
        text = render(
            "control/control.toml.j2",
            backups=None,
            layout=layout,
            cluster=cluster,
            database_file=None,
            database="sqlite:////x",
            threads=16,
        )
        for written in (text, path.read_text()):
            assert tomllib.loads(written).get("otlp") == expected


def test_only_a_cluster_with_its_own_authority_names_it(make_node: MakeNode) -> None:
    assert tomllib.loads(agent.agent_settings(make_node()))["ca"] == layout.CA_CERTIFICATE
    own = parse(CLUSTER + "tls: {mode: files, directory: certificates}\n")
    assert "ca" not in tomllib.loads(agent.agent_settings(make_node(cluster=own)))


_COLD = """
cold: {endpoint: 'https://s3.example.net', bucket: files, prefix: a/, namespaces: [isos]%s}
"""


@pytest.mark.parametrize(
    ("key", "seconds"),
    [("", 30 * 86400), (", keep_deleted: false", 0), (", keep_deleted: forever", None)],
)
def test_the_agent_reads_where_its_cold_tier_is(
    make_node: MakeNode, tmp_path: Path, key: str, seconds: int | None
) -> None:
    node = make_node(cluster=parse(CLUSTER + _COLD % key))
    path = tmp_path / "agent.toml"
    path.write_text(agent.agent_settings(node))
    cold = settings.load(path).cold
    assert cold is not None
    assert cold.target == "https://s3.example.net/files/a/"
    assert (cold.rate, cold.namespaces) == (20 * MIB, ("isos",))
    assert cold.keep_deleted == seconds
    assert str(cold.credentials_file) == layout.COLD_CREDENTIALS
    allowed = node.sizing.worker_memory_max + layout.COLD_MEMORY
    assert f"MemoryMax={allowed}\n" in agent.units(node)[layout.WORKER_SERVICE]


_KEPT = """
namespaces: {images: {max_age: 1d, hold: api}, live: {max_age: 0}}
hooks:
  - {namespace: images, events: [deleted], command: [/bin/purge, 'a b']}
  - {namespace: images, url: 'https://app.example.net/x'}
"""


def test_agent_and_control_plane_read_what_caches_may_keep_and_who_hears_of_deletions(
    make_node: MakeNode, tmp_path: Path
) -> None:
    node = make_node(cluster=parse(CLUSTER + _KEPT))
    path = tmp_path / "agent.toml"
    path.write_text(agent.agent_settings(node))
    read = settings.load(path)
    assert read.max_age == {"images": 86400, "live": 0}
    assert read.held == ("images",)
    assert [hook.events for hook in read.hooks] == [("deleted",), ("committed",)]
    text = render(
        "control/control.toml.j2",
        backups=None,
        layout=layout,
        cluster=node.cluster,
        database_file=None,
        database="sqlite:////x",
        threads=16,
    )
    assert tomllib.loads(text)["max_age"] == read.max_age
    # What is as it always was is written as it always was: an older release reads it too.
    plain = agent.agent_settings(make_node())
    assert "max_age" not in plain and "events" not in plain and "held" not in plain


def test_every_number_of_the_sizing_reaches_the_agent(make_node: MakeNode) -> None:
    node = make_node()
    assert tomllib.loads(agent.agent_settings(node))["sizing"] == asdict(node.sizing)


def test_gunicorn_knows_and_takes_every_setting(make_node: MakeNode) -> None:
    values: dict[str, object] = {}
    exec(agent.gunicorn_settings(make_node()), values)  # noqa: S102 (it is our own template)
    config = Config()
    for name, value in values.items():
        if name != "__builtins__" and not isinstance(value, (ModuleType, type)):
            config.set(name, value)
    assert config.threads == make_node().sizing.gunicorn_threads
    assert (config.timeout, config.graceful_timeout, config.max_requests) == (120, 7200, 0)
    assert config.control_socket_disable
    assert not config.accesslog


@pytest.fixture
def unit_files(make_node: MakeNode, tmp_path: Path) -> list[Path]:
    """Both units, with programs that exist on this computer."""
    paths = []
    for name, text in agent.units(make_node()).items():
        path = tmp_path / name
        for program in (f"{layout.CURRENT}/venv/bin/", layout.SERVE_COMMAND):
            text = text.replace(program, "/bin/true ")
        path.write_text(text)
        paths.append(path)
    return paths


def _systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, check=False
    )


def test_systemd_takes_both_units(unit_files: list[Path]) -> None:
    for path in unit_files:
        done = _systemd_analyze("verify", "--man=no", str(path))
        # It warns about what it doesn't know and still succeeds.
        assert (done.returncode, path.name in done.stderr) == (0, False), done.stderr


def test_both_units_stay_as_sandboxed_as_they_are(unit_files: list[Path]) -> None:
    # In tenths. The worker's webhooks need the network, which costs 0.9.
    limits = {layout.AGENT_SERVICE: 5, layout.WORKER_SERVICE: 14}
    for path in unit_files:
        threshold = f"--threshold={limits[path.name]}"
        done = _systemd_analyze("security", "--offline=true", threshold, str(path))
        assert done.returncode == 0, done.stdout


def test_only_the_worker_reaches_the_network(make_node: MakeNode) -> None:
    units = agent.units(make_node())
    web, worker = units[layout.AGENT_SERVICE], units[layout.WORKER_SERVICE]
    assert "PrivateNetwork=yes\nRestrictAddressFamilies=AF_UNIX\nIPAddressDeny=any\n" in web
    assert "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n" in worker
    assert not re.search("PrivateNetwork|IPAddressDeny", worker)


@pytest.mark.parametrize("device", [True, False])
def test_a_node_with_its_own_disk_does_not_start_without_it(
    make_node: MakeNode, device: bool
) -> None:
    """Its own by the cluster file, or one that was mounted before Portside came."""
    with_device = CLUSTER.replace("s01: {}", "s01: {device: /dev/vdb}")
    node = (
        make_node(cluster=parse(with_device))
        if device
        else make_node(mount_point=PurePosixPath("/srv/portside"))
    )
    for text in agent.units(node).values():
        assert "After=srv-portside.mount portside-disk.service\n" in text
        # Not a dependency: one that fails at boot leaves the service dead for good.
        assert "ConditionPathExists=/srv/portside/.portside-root\n" in text
        assert not re.search("^(Requires|BindsTo|RequiresMountsFor)=", text, re.MULTILINE)
    for text in agent.units(make_node()).values():
        assert "portside-disk" not in text
        assert "ConditionPathExists" not in text


def test_services_have_time_to_make_their_packages_for_another_python(
    make_node: MakeNode, make_control: MakeControl
) -> None:
    units = {**agent.units(make_node()), **control.units(make_control())}
    assert len(units) == 4
    for name, text in units.items():
        home = "/opt/portside/control" if "control" in name else "/opt/portside"
        assert f"ExecStartPre=-+{home}/current/make-venv\n" in text
        assert "TimeoutStartSec=900\n" in text


def test_an_operators_own_sites_are_included_where_they_are_kept(make_node: MakeNode) -> None:
    kept = parse(CLUSTER + "nginx: {keep: true}\n")
    without, with_them = (
        nginx.configuration(make_node(cluster=each)) for each in (parse(CLUSTER), kept)
    )
    for included in ("conf.d/*.conf", "sites-enabled/*", "modules-enabled/*.conf"):
        line = f"include /etc/nginx/{included};"
        assert line not in without
        assert line in with_them
    # Loaded twice, nginx wouldn't start.
    assert "load_module" in without
    assert "load_module" not in with_them


def test_a_container_sets_only_what_is_its_own(make_node: MakeNode) -> None:
    own = frozenset(key for key in facts.SYSCTLS if key.startswith("net.ipv4."))
    node = make_node(container=True, settable_sysctls=own, congestion_controls=frozenset({"cubic"}))
    possible = tuning.settable(tuning.wanted(node.sizing), node.facts)
    assert possible.keys() == own - {"net.ipv4.tcp_congestion_control"}


def test_a_machine_of_its_own_sets_everything(make_node: MakeNode) -> None:
    node = make_node()
    wanted = tuning.wanted(node.sizing)
    assert tuning.settable(wanted, node.facts) == wanted
    assert set(wanted) == set(facts.SYSCTLS)


@pytest.mark.parametrize("ram", [512 * MIB, 16 * GIB])
def test_windows_and_dirty_pages_follow_the_ram(make_node: MakeNode, ram: int) -> None:
    node = make_node(ram)
    wanted = tuning.wanted(node.sizing)
    assert wanted["net.ipv4.tcp_rmem"].split()[2] == str(node.sizing.tcp_window)
    assert wanted["vm.dirty_bytes"] == str(node.sizing.dirty_bytes)
