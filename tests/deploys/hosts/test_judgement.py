"""What stands in the way of a deploy, for everything that a host may be found to be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from deploys.hosts.judgement import RELEASES, Asked, judge
from deploys.hosts.outside import Served
from deploys.hosts.survey import Listener, Surveyed
from deploys.wheelhouse import PYTHONS
from portside.cluster.firewall import parse as rule

NOW = 1_800_000_000
ASKED = Asked(
    node_id="s01",
    host="s01.example.net",
    ports=(80, 443),
    root=PurePosixPath("/srv/portside"),
    firewall=True,
    ssh_ports=(22, 2200),
    allowed=(rule("9100/tcp from 192.0.2.0/24"), rule("6000-6010/udp")),
    keep_nginx=False,
    now=NOW,
)
GOOD = Surveyed(
    system="debian",
    version="12",
    architecture="amd64",
    kernel=(6, 1),
    systemd=True,
    python="python3.11",
    time=NOW + 2,
    resolves=True,
    new=True,
    free=(("/opt", 20 << 30), ("/var", 20 << 30)),
    options=(("/opt", ("rw", "relatime")), ("/var", ("rw", "relatime"))),
    real_root="/srv/portside",
    filesystem="ext4",
)

WIREGUARD = Served(51820, "udp", None, tunnel=True)
DEBIANS_OWN = (
    *(Served(port, "tcp", "sshd") for port in (22, 2200)),
    *(Served(port, "tcp", "nginx") for port in (80, 443)),
    Served(68, "udp", "dhclient"),
    Served(123, "udp", "ntpd"),
    Served(111, "tcp", "rpcbind"),
    Served(5355, "udp", "systemd-resolve"),
    # A container's, which is forwarded.
    Served(8080, "tcp", "docker-proxy"),
)


def _found(**changes: Any) -> Surveyed:
    return replace(GOOD, **changes)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(GOOD, id="bare"),
        pytest.param(_found(python=None), id="without python"),
        pytest.param(_found(version="13", python="python3.13"), id="Debian 13"),
        pytest.param(_found(nginx="debian"), id="with Debian's nginx"),
        pytest.param(
            _found(
                new=False,
                nginx="debian",
                nginx_conf="portside",
                marker="s01",
                listeners=(Listener(80, "nginx", "nginx.service"),),
                users=(("portside", "/usr/sbin/nologin"),),
                free=(("/opt", 1 << 20),),
            ),
            id="deployed, and nearly full",
        ),
        pytest.param(_found(listeners=(Listener(25, "master", "postfix.service"),)), id="mail"),
        pytest.param(_found(served=DEBIANS_OWN), id="as Debian has it"),
        pytest.param(
            _found(served=(WIREGUARD, Served(25, "tcp", "master")), firewalled=True),
            id="told when the firewall came",
        ),
        pytest.param(
            _found(served=(Served(9100, "tcp", "exporter"), Served(6001, "udp", "x"))),
            id="allowed",
        ),
    ],
)
def test_a_host_as_it_should_be_is_deployed_to_without_a_word(found: Surveyed) -> None:
    judged = judge(found, ASKED)
    assert (judged.problems, judged.notes) == ((), ())


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (_found(system="ubuntu", version="24.04"), "ubuntu 24.04: nodes are Debian 12 or 13"),
        (_found(version="11", python="python3.9"), "debian 11: nodes are Debian 12 or 13"),
        (_found(python="python3.9"), "python3 is python3.9, not Debian's python3.11"),
        (_found(architecture="i386"), "architecture is i386"),
        (_found(kernel=(3, 10)), "kernel is 3.10: 4.19 is needed"),
        (_found(systemd=False), "systemd doesn't run"),
        (
            _found(free=(("/opt", 300 << 20),)),
            "/opt has 300.0 MiB free: a first deploy needs 1.0 GiB",
        ),
        (_found(options=(("/opt", ("rw", "noexec")),)), "/opt is mounted noexec"),
        (_found(options=(("/var", ("ro",)),)), "/var is mounted read-only"),
        (
            _found(listeners=(Listener(80, "apache2", "apache2.service"),)),
            "port 80 is held by apache2 (apache2.service): stop it (`systemctl disable --now "
            "apache2`) or remove it (`apt purge apache2`)",
        ),
        (
            _found(listeners=(Listener(443, "caddy", "caddy.service"),)),
            "port 443 is held by caddy (caddy.service): stop it (`systemctl disable --now caddy.s",
        ),
        (_found(listeners=(Listener(80, "docker-proxy"),)), "a container publishes it"),
        # Somebody's own: the service could not take its place.
        (_found(listeners=(Listener(80, "nginx", "session-3.scope"),)), "held by nginx (session-3"),
        (_found(nginx="1.27.3-1~bookworm"), "nginx 1.27.3-1~bookworm isn't Debian's"),
        (_found(nginx_sources=("/etc/apt/sources.list.d/nginx.list",)), "/nginx.list would bring"),
        (_found(nginx="debian", nginx_conf="own"), "nginx.conf was changed by hand"),
        (
            _found(nginx="debian", sites=("/etc/nginx/conf.d/a.conf", "/etc/nginx/conf.d/b.conf")),
            "nginx serves /etc/nginx/conf.d/a.conf and /etc/nginx/conf.d/b.conf, which would be dr",
        ),
        (_found(firewalls=("ufw",)), "ufw is active beside Portside's own firewall: switch it off"),
        (_found(firewalls=("firewalld",)), "`systemctl disable --now firewalld`"),
        (_found(users=(("portside", "/bin/bash"),)), "somebody logs in as portside"),
        (
            _found(real_root="/home/data"),
            "uploads.root is /home/data, and services don't see /home",
        ),
        (
            _found(unmounted=("/srv",), lacks=("writing",)),
            "/srv, where uploads.root is, isn't mounted",
        ),
        (_found(marker="s02"), "/srv/portside holds the files of s02"),
        (
            _found(holds=("photos", "mail")),
            "/srv/portside holds photos and mail, nothing of Portside",
        ),
        (_found(lacks=("writing",)), "nothing can be written where /srv/portside is to be"),
        (
            _found(filesystem="fuse.x", lacks=("noreplace-rename", "hard-links", "locks")),
            "/srv/portside is on fuse.x, which lacks a rename that replaces nothing and locks",
        ),
    ],
)
def test_what_would_end_a_run_or_hurt_what_is_there_is_said_with_a_remedy(
    found: Surveyed, said: str
) -> None:
    (problem,) = judge(found, ASKED).problems
    assert said in problem


def test_a_release_has_wheels_for_each_python_that_is_taken() -> None:
    assert set(RELEASES.values()) == {f"python{version}" for version in PYTHONS}


def test_every_problem_is_told_at_once() -> None:
    found = _found(
        version="11",
        firewalls=("ufw",),
        holds=("photos",),
        listeners=(Listener(80, "apache2"), Listener(443, "apache2")),
    )
    assert len(judge(found, ASKED).problems) == 5


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (_found(lacks=("noreplace-rename",), filesystem="zfs"), "without noreplace-rename"),
        (_found(lacks=("direct-io",), filesystem="tmpfs"), "without direct-io: uploads are slower"),
        (_found(time=NOW - 3600), "its clock is 3600 s behind"),
        (_found(resolves=False), "s01.example.net doesn't resolve there"),
        (_found(docker=True), "docker opens the ports"),
        # It wasn't served before this run either.
        (
            _found(nginx="debian", nginx_conf="portside", sites=("/etc/nginx/conf.d/a.conf",)),
            "/etc/nginx/conf.d/a.conf isn't served",
        ),
    ],
)
def test_what_stops_nothing_is_told(found: Surveyed, said: str) -> None:
    judged = judge(found, ASKED)
    assert judged.problems == ()
    (note,) = judged.notes
    assert said in note


def test_what_the_firewall_would_close_is_told_with_the_line_that_keeps_it() -> None:
    # Of 9100 the cluster file opens TCP alone.
    mail, other = Served(25, "tcp", "master"), Served(9100, "udp", "exporter")
    found = _found(served=(*DEBIANS_OWN, mail, WIREGUARD, other))
    judged = judge(found, ASKED)
    assert judged.problems == ()
    (note,) = judged.notes
    assert "reach master (25/tcp), the kernel (51820/udp), exporter (9100/udp)" in note
    assert "add `firewall: {allow: [25/tcp, 51820/udp, 9100/udp]}`" in note
    assert judge(found, replace(ASKED, firewall=False)).notes == ()


@pytest.mark.parametrize("firewalled", [False, True])
def test_a_login_that_the_firewall_would_end_without_the_proof_seeing_it_is_refused(
    firewalled: bool,
) -> None:
    mail = Served(25, "tcp", "master")
    found = _found(served=(mail, WIREGUARD), login_tunnel="wg0", firewalled=firewalled)
    (problem,) = judge(found, ASKED).problems
    assert "by the tunnel wg0" in problem
    assert "add `firewall: {allow: [51820/udp]}`" in problem
    for asked in (
        replace(ASKED, allowed=(rule("51820/udp"),)),
        replace(ASKED, firewall=False),
    ):
        assert judge(found, asked).problems == ()
    # Another way in, or one that calls out by itself.
    assert judge(replace(found, login_tunnel=None), ASKED).problems == ()
    assert judge(replace(found, served=(mail,)), ASKED).problems == ()


def test_ssh_at_the_port_that_this_login_came_by_is_open_anyway() -> None:
    found = _found(served=(Served(2022, "tcp", "dropbear"),), login_port=2022)
    assert judge(found, ASKED).notes == ()
    assert len(judge(replace(found, login_port=22), ASKED).notes) == 1


def test_an_operators_own_sites_stay_where_the_cluster_file_says_so() -> None:
    kept = replace(ASKED, keep_nginx=True)
    found = _found(nginx="debian", sites=("/etc/nginx/conf.d/a.conf",))
    assert judge(found, kept).problems == ()
    # Of an nginx.conf nothing can be kept: there is one.
    assert len(judge(replace(found, nginx_conf="own"), kept).problems) == 1


def test_another_firewall_is_fine_where_portside_has_none() -> None:
    assert judge(_found(firewalls=("ufw",)), replace(ASKED, firewall=False)).problems == ()


def test_a_node_that_stores_nothing_needs_no_place_for_it() -> None:
    found = _found(real_root=None, filesystem=None, lacks=("direct-io",))
    judged = judge(found, replace(ASKED, root=None))
    assert (judged.problems, judged.notes) == ((), ())


def test_nothing_is_deployed_to_a_retired_node() -> None:
    (problem,) = judge(replace(GOOD, retired=True), ASKED).problems
    assert "it is retired" in problem
    assert f"fab uninstall {ASKED.node_id}" in problem
