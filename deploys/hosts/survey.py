"""What is on a host before anything on it is changed, in one round trip.

Whether that stops a deploy is `deploys.hosts.judgement`'s to say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyinfra.api.facts import FactBase

from deploys import layout
from deploys.hosts.outside import Served

_SCRIPT = Path(__file__).with_suffix(".sh")


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on a TCP port; `unit` is systemd's, where there is one."""

    port: int
    process: str
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A host as it was found. What isn't there is None or empty.

    `time` is seconds since the epoch, `free` bytes by folder. `nginx` is "debian" or the version of
    another package, `nginx_conf` "portside" or "own" where it isn't as its package brought it.
    `login_port` is where this login came in, `login_tunnel` the interface, if that is a tunnel's;
    `firewalled`: Portside's firewall has been there before.
    `lacks` is in the words of `agent.host.filesystem`, "writing" aside; with `holds`, which names
    what is no folder of ours, it is only looked for where no data is yet.
    `retired`: it was let go for good.
    """

    system: str = ""
    version: str = ""
    architecture: str = ""
    kernel: tuple[int, int] = (0, 0)
    systemd: bool = False
    python: str | None = None
    time: int = 0
    resolves: bool = False
    users: tuple[tuple[str, str], ...] = ()
    new: bool = False
    free: tuple[tuple[str, int], ...] = ()
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    listeners: tuple[Listener, ...] = ()
    served: tuple[Served, ...] = ()
    login_port: int | None = None
    login_tunnel: str | None = None
    firewalled: bool = False
    nginx: str | None = None
    nginx_sources: tuple[str, ...] = ()
    nginx_conf: str | None = None
    sites: tuple[str, ...] = ()
    firewalls: tuple[str, ...] = ()
    docker: bool = False
    real_root: str | None = None
    marker: str | None = None
    unmounted: tuple[str, ...] = ()
    holds: tuple[str, ...] = ()
    filesystem: str | None = None
    lacks: tuple[str, ...] = ()
    retired: bool = False


class Survey(FactBase[Surveyed]):
    """Looks; see survey.sh beside this."""

    default = Surveyed

    def command(
        self, host_name: str, root: str | None, device: str | None, ports: Sequence[int]
    ) -> str:
        given = {
            "name": host_name,
            "root": root or "",
            "device": device or "",
            "ports": " ".join(f"{port:04X}" for port in ports),
            "state": layout.STATE,
            "retired": layout.RETIRED,
            "users": f"{layout.SERVICE_USER} {layout.CONTROL_USER}",
        }
        words = "; ".join(f"{key}={shlex.quote(value)}" for key, value in given.items())
        return f"{words}\n{_SCRIPT.read_text(encoding='utf-8')}"

    def process(self, output: list[str]) -> Surveyed:
        said: dict[str, list[str]] = {}
        # Whatever a login shell prints is none of it.
        for line in output:
            if line.startswith("survey "):
                what, _, value = line.removeprefix("survey ").partition(" ")
                said.setdefault(what, []).append(value.strip())

        def one(what: str) -> str | None:
            return said.get(what, [None])[0]

        def several(what: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(said.get(what, [])))

        system, _, version = (one("system") or "").partition(" ")
        major, minor = re.findall(r"\d+", f"{one('kernel')} 0 0")[:2]
        pairs = [tuple(value.split(" ", 1)) for value in several("options")]
        free = [value.split(" ", 1) for value in several("free")]
        return Surveyed(
            system=system,
            version=version,
            architecture=one("architecture") or "",
            kernel=(int(major), int(minor)),
            systemd="systemd" in said,
            python=one("python"),
            time=int(one("time") or 0),
            resolves="resolves" in said,
            users=tuple((name, shell) for name, _, shell in map(_halves, several("user"))),
            new="new" in said,
            free=tuple((place, int(size)) for size, place in free),
            options=tuple((place, tuple(words.split(","))) for words, place in pairs),
            listeners=tuple(map(_listener, several("listens"))),
            served=tuple(map(_served, several("serves"))),
            login_port=int(one("login-port") or 0) or None,
            login_tunnel=one("login-tunnel"),
            firewalled="firewalled" in said,
            nginx=one("nginx"),
            nginx_sources=several("nginx-source"),
            nginx_conf=one("nginx.conf"),
            sites=several("site"),
            firewalls=several("firewall"),
            docker="docker" in said,
            real_root=one("real"),
            marker=one("marker"),
            unmounted=several("unmounted"),
            holds=several("holds"),
            filesystem=one("filesystem"),
            lacks=several("lacks"),
            retired="retired" in said,
        )


def _halves(value: str) -> tuple[str, str, str]:
    return value.partition(" ")


def _served(value: str) -> Served:
    port, protocol, tunnel, process = [*value.split(" ", 3), ""][:4]
    return Served(int(port), protocol, process or None, tunnel == "tunnel")


def _listener(value: str) -> Listener:
    port, unit, process = [*value.split(" ", 2), "", ""][:3]
    return Listener(int(port, 16), process or "a process", None if unit in ("-", "") else unit)
