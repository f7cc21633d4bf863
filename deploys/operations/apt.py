"""apt without questions, when nobody else is at it, and mended if it was broken off.

A fresh VPS is busy for its first minutes: cloud-init installs, apt-daily and unattended-upgrades
fetch and upgrade. apt itself waits for dpkg's lock if it is told to, not for that of its lists, and
says nothing meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.context import host

from deploys.hosts import facts

PATIENCE = 30 * 60
"""Seconds: an upgrade of a whole old image, on a slow disk."""

LOOK_EVERY = 5.0
"""Seconds between two looks at who is at it."""

SAY_EVERY = 60.0
"""Seconds between two lines about the same one."""

_LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)

# As debconf(7), needrestart(1), apt-listchanges(1) and ucf(1) have it: nothing is asked, and no
# service is restarted behind our back, least of all an agent with uploads.
_SILENT = (
    "DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none "
    "UCF_FORCE_CONFFOLD=1"
)
_DPKG = ("--force-confdef", "--force-confold")


def mended() -> str:
    """Shell: finish what a run of apt or dpkg that was killed has left half done."""
    return _quiet(
        f"dpkg --configure -a {' '.join(_DPKG)} </dev/null >/dev/null && {_apt('install', '-f')}"
    )


def lists_fetched() -> str:
    """Shell: today's package lists. Somebody may have come between the look and the lock."""
    return _quiet(
        f"for attempt in $(seq 30); do said=$({_apt('update')} 2>&1) && exit 0; "
        'case "$said" in *"Could not get lock"*|*"Unable to lock"*) sleep 10 ;; '
        '*) break ;; esac; done; echo "$said" >&2; exit 1'
    )


def installed(packages: Sequence[str]) -> str:
    """Shell: these packages and what they can't do without."""
    return _quiet(_apt("install", "--no-install-recommends", *packages))


def _apt(verb: str, *words: str) -> str:
    dpkg = " ".join(f"-o Dpkg::Options::={each}" for each in _DPKG)
    return (
        f"apt-get {verb} -y -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "
        f"-o Dpkg::Use-Pty=0 {dpkg} {facts.quoted(words)} </dev/null"
    )


def _quiet(command: str) -> str:
    """Packages' scripts make files by the umask: a login's 077 would hide them from services."""
    return f"umask 022; export {_SILENT}; {command}"


@dataclass(frozen=True, slots=True)
class Busy:
    """Who is at apt or dpkg: `apt-daily.service (apt-get, pid 123)`."""

    who: str


class AptBusy(FactBase[Busy | None]):
    """Who holds one of apt's locks, or will soon: cloud-init that isn't through yet."""

    def command(self, locks: tuple[str, ...] = _LOCKS) -> str:
        # fcntl(2)'s locks, which flock(1) doesn't see. Other filesystems have the same inodes: the
        # file counts.
        return (
            f"for f in {facts.quoted(locks)}; do [ -e $f ] || continue; "
            "i=$(stat -c %i $f); for p in "
            "$(awk -v i=$i '{ split($6, d, \":\"); if (d[3] == i) print $5 }' /proc/locks); do "
            "readlink /proc/$p/fd/* 2>/dev/null | grep -qxF $f || continue; "
            "echo busy $p $(cat /proc/$p/comm) $(sed -n 's|.*/\\([^/]*\\.service\\)$|\\1|p' "
            "/proc/$p/cgroup | head -n 1); exit 0; done; done; "
            "systemctl list-jobs --no-legend --plain 'cloud-*' 2>/dev/null | grep -q . && "
            "echo cloud-init; true"
        )

    def process(self, output: list[str]) -> Busy | None:
        for line in output:
            if line == "cloud-init":
                return Busy("cloud-init, which sets the machine up")
            if line.startswith("busy "):
                _, process, name, *unit = line.split()
                known = f"{unit[0]} ({name}, pid {process})" if unit else f"{name} (pid {process})"
                return Busy(known)
        return None


def wait_until_free() -> None:
    """Wait until nobody is at apt on this host, saying who is. Raises PyinfraError in the end."""
    begun, said_at, last = time.monotonic(), 0.0, ""
    while (busy := host.get_fact(AptBusy)) is not None:
        now = time.monotonic()
        if now - begun > PATIENCE:
            raise PyinfraError(
                f"{busy.who} has been at apt for {PATIENCE // 60} minutes: see what it does "
                "(`systemctl status`, `ps`), end it if it hangs, then run the same again"
            )
        if busy.who != last or now - said_at > SAY_EVERY:
            host.log(f"waiting for {busy.who} to be done with apt")
            last, said_at = busy.who, now
        time.sleep(LOOK_EVERY)
