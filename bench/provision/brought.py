"""What our deploy has brought to a node, read off the node itself: what Ansible has to bring too.

Files and folders that weren't there before and are no package's; of a package's, those that have
other content. What the machine makes for itself is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.provision import machines
from lab.machines import Lab

_PLACES = "/etc /usr/local /srv /opt /var/lib/portside* /var/backups/portside*"
_LIST = (
    f"find {_PLACES} -xdev \\( -type f -o -type d \\) -printf '%y %m %u %g %p\\n' 2>/dev/null; true"
)
_REPLACED = "/etc/nginx/nginx.conf"
"""Of the files that a package brought, the one that the deploy replaces."""

_ITS_OWN = re.compile(
    # Debian's, made by packages' scripts and by logins.
    r"/etc/(group|gshadow|passwd|shadow|subuid|subgid)-?|/etc/(ld\.so\.cache|hosts|machine-id)|"
    r"/etc/(ssl|python3.*|alternatives|rc\d\.d|init\.d|default|logrotate\.d|ufw|perl|apparmor.*|"
    r"systemd/system/[^/]+\.wants|ssh/ssh_host.*|nginx/(?!nginx\.conf).*|dpkg|dbus-1)(/.*)?|"
    r"/etc/apt/apt\.conf\.d/(20auto|50unattended)-upgrades|/etc/(hostname|inputrc)|"
    r"/etc/ssh/sshd_config\.d/10-counted\.conf|/usr/local/lib/python3\.\d+(/.*)?|"
    # The node's own: its key, its data, its releases' content, what a deploy notes down.
    r"/etc/portside/node\.key|/srv/portside/(uploads|staging|quarantine|ended|state)/.*|"
    r"/opt/portside/(control/)?releases/.+|/var/lib/portside-deploy/(?!uploads$).*|"
    r"/etc/systemd/system/portside-revert\.service|/var/lib/portside-control/.*|"
    r"/var/backups/portside-control/.*|/var/lib/portside/.*"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or a folder, its owner and mode. `mode` is in octal digits."""

    path: str
    folder: bool
    owner: str
    group: str
    mode: str


def listed(lab: Lab, name: str) -> dict[str, Entry]:
    """What is on a machine where a deploy may bring something, by its path."""
    return {entry.path: entry for entry in _entries(machines.run_inside(lab, name, _LIST))}


def brought(lab: Lab, name: str, before: Mapping[str, Entry]) -> list[Entry]:
    """What came to a machine since it was as `before`; folders come before what is in them."""
    packaged = _packaged(machines.root_of(lab, name))
    return [
        entry
        for path, entry in sorted(listed(lab, name).items())
        if path == _REPLACED or not (path in before or path in packaged or _ITS_OWN.fullmatch(path))
    ]


def releases(root: Path) -> dict[str, str]:
    """The releases that run on a machine: the link `current`, and the folder that it leads to."""
    links = (root / "opt/portside/current", root / "opt/portside/control/current")
    return {
        f"/{each.relative_to(root)}": str(each.readlink()) for each in links if each.is_symlink()
    }


def _entries(said: str) -> list[Entry]:
    rows = (line.split(" ", 4) for line in said.splitlines())
    return [
        Entry(path, kind == "d", owner, group, mode.zfill(4))
        for kind, mode, owner, group, path in rows
    ]


def _packaged(root: Path) -> set[str]:
    lists = (root / "var/lib/dpkg/info").glob("*.list")
    return {line for each in lists for line in each.read_text().splitlines()}
