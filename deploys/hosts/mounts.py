"""Mounts as systemd knows them: by the name of a unit that is made of the path."""

from __future__ import annotations

import re
from pathlib import PurePosixPath


def mount_unit(path: PurePosixPath) -> str:
    r"""The unit of what is mounted on an absolute path: /srv/lab-disk is srv-lab\x2ddisk.mount.

    As `systemd-escape --path` writes it (systemd.unit(5), "string escaping for inclusion in unit
    names"), for the ASCII that a cluster file allows in paths.
    """
    inner = "/".join(path.parts[1:]) or "/"
    if inner == "/":
        return "-.mount"
    escaped = re.sub(r"[^A-Za-z0-9:_./]|^\.", lambda found: rf"\x{ord(found[0]):02x}", inner)
    return escaped.replace("/", "-") + ".mount"
