"""Where on a node the uploads may live: `uploads.root` of the cluster file."""

from __future__ import annotations

from pathlib import PurePosixPath

HIDDEN = ("/dev", "/home", "/proc", "/root", "/run", "/sys", "/tmp", "/var/tmp")  # noqa: S108
"""What services in a sandbox don't see, or see their own of (systemd.exec(5))."""

_OTHERS = ("/bin", "/boot", "/etc", "/lib", "/lib64", "/sbin", "/usr", "/opt/portside")
_PARENTS = ("/", "/opt", "/var", "/var/lib")
"""The root is the agent's own: as one of these it would take the system away from itself."""


def data_root(path: PurePosixPath) -> PurePosixPath:
    """The path, if files may live there. Raises ValueError with what to do instead."""
    hidden = next((place for place in HIDDEN if path.is_relative_to(place)), None)
    if hidden is not None:
        raise ValueError(
            f"services don't see {hidden}: name another folder, and where that is the disk with "
            f"the room, mount it there (in /etc/fstab: `{path} /srv/portside none bind`)"
        )
    if str(path) in _PARENTS or any(path.is_relative_to(place) for place in _OTHERS):
        raise ValueError(f"{path} is the system's own: name a folder for uploads alone")
    return path
