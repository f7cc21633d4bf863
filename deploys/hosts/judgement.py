"""What stands in the way of a deploy, and what an operator should know: pure, from what was found.

Each problem is a line that says what is wrong and what to do. All are told at once, before anything
is changed; notes are told, and stop nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from deploys.hosts import outside
from deploys.hosts.survey import Listener, Surveyed
from portside.cluster.firewall import Allowed
from portside.cluster.places import HIDDEN
from portside.quantities import GIB, format_size

RELEASES = {"12": "python3.11", "13": "python3.13"}
"""Debian's releases that nodes may have, and what their `python3` is: releases bring its wheels."""

ARCHITECTURES = ("amd64", "arm64")
"""In Debian's words."""

LEAST_KERNEL = (4, 19)
"""Debian 10's. Hosters of containers have older ones, without what sandboxes and nftables need."""

LEAST_FREE = GIB
"""Bytes for a first deploy: packages and a release take about half of it."""

CLOCK_SKEW = 60
"""Seconds. Tokens bear less between two clocks that are each as wrong as this."""

_REMEDIES = {
    "apache2": "stop it (`systemctl disable --now apache2`) or remove it (`apt purge apache2`)",
    "docker-proxy": "a container publishes it: see `docker ps`, and give it another port",
    "sshd": "let SSH listen elsewhere (`Port` in /etc/ssh/sshd_config)",
}

_NO_SAFE_WAY = {
    ("noreplace-rename", "hard-links"): "a rename that replaces nothing",
    ("directory-fsync",): "fsync of directories",
    ("locks",): "locks",
    ("long-names",): "names of 255 bytes",
}
"""What nothing stands in for where all of it is missing: agent/host/filesystem.py."""


_RETIRED = (
    "it is retired, and nothing is deployed to it: take its line out of the cluster file. To use "
    "it again: `fab undrain {node}` and `fab reinstall {node}`, or `fab uninstall {node}` for a "
    "machine that begins anew"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a node is to be, by the cluster file.

    `root` is None where nothing is stored; `now` is this computer's time, seconds since the epoch.
    `ssh_ports` are those of the host's SSH server, `allowed` what the cluster file opens besides.
    """

    node_id: str
    host: str
    ports: tuple[int, ...]
    root: PurePosixPath | None
    firewall: bool
    ssh_ports: tuple[int, ...]
    allowed: tuple[Allowed, ...]
    keep_nginx: bool
    now: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """Lines for people."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def judge(found: Surveyed, asked: Asked) -> Judgement:
    """Everything that is wrong, at once."""
    if found.retired:
        return Judgement((_RETIRED.format(node=asked.node_id),), ())
    problems = [*_system(found), *_room(found), *_listeners(found, asked), *_nginx(found, asked)]
    problems += [*_firewalls(found, asked), *_users(found)]
    if asked.root is not None:
        problems += [*_data(found, asked.root, asked.node_id)]
    return Judgement(tuple(problems), tuple(_notes(found, asked)))


def _system(found: Surveyed) -> Iterator[str]:
    if found.system != "debian" or found.version not in RELEASES:
        yield (
            f"this is {found.system} {found.version}: nodes are Debian {' or '.join(RELEASES)}; "
            "have it installed anew"
        )
    elif found.python not in (None, RELEASES[found.version]):
        yield (
            f"/usr/bin/python3 is {found.python}, not Debian's {RELEASES[found.version]}: put that "
            "back (`apt install --reinstall python3-minimal`)"
        )
    if found.architecture not in ARCHITECTURES:
        yield (
            f"its architecture is {found.architecture}: releases are built for "
            f"{' and '.join(ARCHITECTURES)}"
        )
    if found.kernel < LEAST_KERNEL:
        yield (
            f"its kernel is {_dotted(found.kernel)}: {_dotted(LEAST_KERNEL)} is needed; in a "
            "container it is the hoster's: take a virtual machine"
        )
    if not found.systemd:
        yield "systemd doesn't run here: take a virtual machine, or a container that boots"


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _room(found: Surveyed) -> Iterator[str]:
    for place, free in found.free:
        if found.new and free < LEAST_FREE:
            yield (
                f"{place} has {format_size(free)} free: a first deploy needs "
                f"{format_size(LEAST_FREE)}; remove something (`apt clean`), or take a larger disk"
            )
    for place, options in found.options:
        if "ro" in options:
            yield f"{place} is mounted read-only: see `dmesg`, it may be a disk that fails"
    if "noexec" in dict(found.options).get("/opt", ()):
        yield ("/opt is mounted noexec, and programs live there: see its line in /etc/fstab")


def _listeners(found: Surveyed, asked: Asked) -> Iterator[str]:
    for each in found.listeners:
        if each.port in asked.ports and each.unit != "nginx.service":
            yield f"port {each.port} is held by {_who(each)}: {_remedy(each)}"


def _who(listener: Listener) -> str:
    unit = f" ({listener.unit})" if listener.unit else ""
    return f"{listener.process}{unit}"


def _remedy(listener: Listener) -> str:
    known = _REMEDIES.get(listener.process)
    if known is not None:
        return known
    if listener.unit and listener.unit.endswith(".service"):
        return f"stop it (`systemctl disable --now {listener.unit}`) or give it another port"
    return "stop it, or give it another port"


def _nginx(found: Surveyed, asked: Asked) -> Iterator[str]:
    if found.nginx not in (None, "debian"):
        yield (
            f"nginx {found.nginx} isn't Debian's, whose modules are needed: remove it (`apt purge "
            "nginx`) and its source in /etc/apt/sources.list.d"
        )
    elif found.nginx_sources:
        yield (
            f"{_listed(found.nginx_sources)} would bring an nginx that isn't Debian's, whose "
            "modules are needed: remove it"
        )
    if found.nginx_conf == "portside" or not (found.nginx_conf or found.sites):
        return
    if found.nginx_conf == "own":
        yield (
            "/etc/nginx/nginx.conf was changed by hand and would be replaced: move what you need "
            "of it to a file in /etc/nginx/conf.d, say `nginx: {keep: true}` in the cluster file, "
            "and move nginx.conf itself away"
        )
    if found.sites and not asked.keep_nginx:
        yield (
            f"nginx serves {_listed(found.sites)}, which would be dropped: remove what isn't "
            "needed, or say `nginx: {keep: true}` in the cluster file"
        )


def _firewalls(found: Surveyed, asked: Asked) -> Iterator[str]:
    for each in found.firewalls:
        if asked.firewall:
            off = "ufw disable" if each == "ufw" else f"systemctl disable --now {each}"
            yield (
                f"{each} is active beside Portside's own firewall: switch it off (`{off}`), or say "
                "`firewall: {mode: off}` in the cluster file and let it open "
                f"{', '.join(map(str, asked.ports))}"
            )
    if asked.firewall and found.login_tunnel:
        locked_out = outside.lockout(found.login_tunnel, _closed(found, asked))
        if locked_out:
            yield locked_out


def _closed(found: Surveyed, asked: Asked) -> list[outside.Served]:
    open_anyway = {*asked.ports, *asked.ssh_ports, found.login_port or 22}
    return outside.unopened(found.served, open_anyway, asked.allowed)


def _users(found: Surveyed) -> Iterator[str]:
    # One that a deploy has made is a service's, whatever somebody has changed about it.
    for user, shell in found.users:
        if found.new and not shell.endswith(("/nologin", "/false")):
            yield (
                f"somebody logs in as {user}, which services are to run as: rename that user "
                f"(`usermod --login`), or `usermod --shell /usr/sbin/nologin {user}`"
            )


def _data(found: Surveyed, root: PurePosixPath, node_id: str) -> Iterator[str]:
    real = PurePosixPath(found.real_root or root)
    hidden = next((place for place in HIDDEN if real.is_relative_to(place)), None)
    if hidden:
        yield (
            f"uploads.root is {real}, and services don't see {hidden}: mount that folder on "
            f"another one (in /etc/fstab: `{real} /srv/portside none bind`, then `mount "
            "/srv/portside`) and name that"
        )
    for point in found.unmounted:
        yield (
            f"{point}, where uploads.root is, isn't mounted: mount it (`mount {point}`; see "
            "`lsblk`); files would be written to the system's disk"
        )
    if found.unmounted:
        # What is seen there now is the bare mount point.
        return
    if found.marker not in (None, node_id):
        yield (
            f"{root} holds the files of {found.marker}: is this the right machine, or its disk? "
            f"See {root}/.portside-root"
        )
    if found.holds:
        yield (
            f"{root} holds {_listed(found.holds)}, nothing of Portside's: name an empty folder as "
            "uploads.root, or move them away"
        )
    if "writing" in found.lacks:
        yield f"nothing can be written where {root} is to be: see `findmnt --target {root}`"
    missing = [
        what for names, what in _NO_SAFE_WAY.items() if all(each in found.lacks for each in names)
    ]
    if missing:
        yield (
            f"{root} is on {found.filesystem}, which lacks {_listed(tuple(missing))}: stored files "
            "wouldn't be safe; use ext4 or xfs"
        )


def _notes(found: Surveyed, asked: Asked) -> Iterator[str]:
    lacks = [each for each in found.lacks if each in ("noreplace-rename", "direct-io")]
    if asked.root is not None and lacks:
        yield (
            f"{asked.root} is on {found.filesystem}, without {_listed(tuple(lacks))}: uploads are "
            "slower there than on ext4 or xfs"
        )
    skew = round(found.time - asked.now)
    if abs(skew) > CLOCK_SKEW:
        yield f"its clock is {abs(skew)} s {'ahead' if skew > 0 else 'behind'}"
    if not found.resolves:
        yield f"{asked.host} doesn't resolve there: other nodes and clients need its DNS record"
    if found.nginx_conf == "portside" and found.sites and not asked.keep_nginx:
        yield (
            f"{_listed(found.sites)} isn't served: remove it, or say `nginx: {{keep: true}}` in "
            "the cluster file"
        )
    closed = _closed(found, asked) if asked.firewall and not found.firewalled else []
    if closed:
        yield outside.note(closed)
    if found.docker:
        yield "docker opens the ports that its containers publish, whatever the firewall says"


def _listed(names: tuple[str, ...]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
