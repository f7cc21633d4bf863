"""What a node's Debian keeps to, beside Portside: as much as `hardening` in the cluster file says.

All of it is files of our own beside Debian's, so that `off` takes them away again. What each level
does, and why, is in docs/hardening.md; each figure has its reason in templates/hardening/.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from deploys import layout
from deploys.components.machine.banners import banners
from deploys.hosts.node import Node
from deploys.hosts.system import System, SystemFacts, path
from deploys.operations.files import Directory, File, directories_in_place, files_in_place
from deploys.operations.packages import packages_installed
from deploys.operations.removal import Removal, files_gone
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside.cluster.hardening import Hardening
from portside.quantities import GIB, MIB

SYSCTL_FILE = "/etc/sysctl.d/99-security-portside.conf"
"""After Debian's own, of which the last is 99-protect-links.conf: the last one read counts."""

JOURNALD = "/etc/systemd/journald.conf.d/50-portside.conf"
SYSTEM = "/etc/systemd/system.conf.d/50-portside.conf"
COREDUMP = "/etc/systemd/coredump.conf.d/50-portside.conf"
LIMITS = "/etc/security/limits.d/50-portside.conf"
WAITING = f"{layout.UNITS}/unattended-upgrades.service.d/50-portside.conf"
UPGRADES = "/etc/apt/apt.conf.d/52portside-upgrades"
NEEDRESTART = "/etc/needrestart/conf.d/50-portside.conf"

STANDARD = (SYSCTL_FILE, JOURNALD, SYSTEM, COREDUMP, LIMITS, WAITING, UPGRADES, NEEDRESTART)

MODULES = "/etc/modprobe.d/50-portside.conf"
PROFILE = "/etc/profile.d/50-portside.sh"

STRICT = (MODULES, PROFILE)

# Programs, no services: files can be compared with their packages, a new password is a good one,
# and who logs in has a folder for temporary files that nobody else sees.
_STRICT_PACKAGES = ("debsums", "libpam-passwdqc", "libpam-tmpdir")

_TIMERS = ("apt-daily.timer", "apt-daily-upgrade.timer")
_TIMERS_RUN = " && ".join(
    f'{{ systemctl is-active --quiet {timer} || [ "$(systemctl is-enabled {timer})" = masked ]; }}'
    for timer in _TIMERS
)
# One that is masked stays so, and is told: somebody has said it.
_TIMERS_STARTED = "; ".join(
    f'[ "$(systemctl is-enabled {timer})" = masked ] || systemctl enable --quiet --now {timer}'
    for timer in _TIMERS
)

# nginx alone can change what it runs without an end to anything: a new master takes the sockets,
# the old one's workers finish what they have (https://nginx.org/en/docs/control.html#upgrade).
# While they still do, there is nothing to do yet.
_NGINX_IS_THE_INSTALLED = (
    "[ -e /run/nginx.pid.oldbin ] || "
    "! grep -q ' /usr/.* (deleted)$' /proc/$(cat /run/nginx.pid)/maps"
)
# In lines: what is before an `&&` may fail and end nothing.
RUN_THE_INSTALLED = """\
nginx -t -q
invoke-rc.d nginx upgrade"""

_READ_AGAIN = "systemctl daemon-reload; systemctl try-restart systemd-journald.service"


REMOVAL = Removal(
    files=(*STANDARD, *STRICT),
    # Those that no package of a minimal Debian has.
    folders=(
        *(str(PurePosixPath(each).parent) for each in (JOURNALD, SYSTEM, COREDUMP, WAITING)),
        *("/etc/needrestart/conf.d", "/etc/needrestart"),
    ),
    machine=True,
    then=_READ_AGAIN,
)
"""Files of our own beside Debian's; what the kernel has read counts until the next boot."""


@deploy("Hardening")
def hardening(node: Node) -> None:
    """Upgrades of security, the journal's bounds, no memory on disk, the kernel's settings."""
    level = node.cluster.hardening
    found = system(level)
    converged(
        name="nginx runs what is installed",
        service="nginx-installed",
        holds=_NGINX_IS_THE_INSTALLED,
        otherwise=RUN_THE_INSTALLED,
    )
    if level == "off":
        for line in notices(found):
            host.log(line)
        files_gone(
            name="Debian is left as it is",
            paths=(*STANDARD, *STRICT),
            then=_READ_AGAIN,
            service="hardening",
        )
        banners(own=False)
        return
    settings, left_out = kernel_settings(level, found, node.facts.container)
    if left_out:
        where = "in this container" if node.facts.container else "on this kernel"
        host.log(f"can't be set {where}, left out: {', '.join(left_out)}")
    for line in notices(found):
        host.log(line)
    files = wanted(level, found, settings)
    directories_in_place(
        name="Folders of what the system keeps to",
        directories=[Directory(each) for each in _folders(files)],
    )
    files_in_place(name="What the system keeps to", files=files)
    packages_installed(
        name="Upgrades of security",
        packages=["unattended-upgrades", *(_STRICT_PACKAGES if level == "strict" else ())],
    )
    if level == "standard":
        files_gone(name="What is for `strict` alone is gone", paths=STRICT)
    banners(own=level == "strict")
    converged(
        name="The kernel keeps to it",
        service="hardening-kernel",
        levels=[Level((SYSCTL_FILE,), f"/usr/lib/systemd/systemd-sysctl {SYSCTL_FILE}")],
        holds=_in_force(settings),
    )
    converged(
        name="The system keeps to it",
        service="hardening",
        levels=[Level((JOURNALD, SYSTEM, WAITING), f"{_READ_AGAIN}; {_TIMERS_STARTED}")],
        holds=_TIMERS_RUN,
        otherwise=_TIMERS_STARTED,
    )


def system(level: Hardening) -> SystemFacts:
    """What the node's system is now, as far as the level has a say in it."""
    return host.get_fact(
        System,
        keys=[key for key, _ in assignments(_sysctl(level))],
        timers=_TIMERS if level != "off" else (),
        marker=layout.NGINX_BEFORE_SANDBOX,
    )


def notices(found: SystemFacts) -> list[str]:
    """What an operator should hear of a node in each run until it is no longer so."""
    lines = []
    if found.masked:
        lines.append(
            f"no security upgrades by themselves: {', '.join(found.masked)} "
            f"masked on this node (systemctl unmask {' '.join(found.masked)})"
        )
    if found.nginx_before_sandbox:
        lines.append(
            "nginx's sandbox, as it is now, counts from its next start: with the node's next "
            "reboot, or `systemctl restart nginx`, which ends running uploads and downloads"
        )
    # nginx is brought to what is installed by this very run.
    replaced = [unit for unit in found.replaced if unit != "nginx.service"]
    if replaced:
        lines.append(
            f"run what an upgrade has replaced: {', '.join(replaced)}. Restart them, or the node, "
            "when few uploads run"
        )
    if found.reboot:
        lines.append("a new kernel waits for a reboot of this node")
    return lines


def assignments(text: str) -> list[tuple[str, str]]:
    """Keys and values of a file of sysctl.d(5), in its order."""
    return re.findall(r"^([a-z][\w.*]*) = (.*)$", text, re.MULTILINE)


def kernel_settings(level: Hardening, found: SystemFacts, container: bool) -> tuple[str, list[str]]:
    """The file of sysctl.d, without what a file of the operator's sets, or this node can't.

    With the keys that it can't.

    A container's own are those of its network, even where it could write the others: they are the
    machine's underneath, and everybody's on it.
    """
    lines, left_out = [], []
    for line in _sysctl(level).splitlines(keepends=True):
        for key, _ in assignments(line):
            if _said(key, found.theirs):
                line = f"# Said in another file here: {key}\n"
            elif key not in found.settable or (container and not key.startswith("net.")):
                line = f"# Not this node's to set: {key}\n"
                left_out.append(key)
        lines.append(line)
    return "".join(lines), left_out


def wanted(level: Hardening, found: SystemFacts, settings: str) -> list[File]:
    """Every file of the level."""
    journal = min(max(found.log_disk // 20, 64 * MIB), GIB)
    strict = level == "strict"
    files = [
        File(SYSCTL_FILE, settings),
        File(
            JOURNALD,
            render("hardening/journald.conf.j2", journal=journal),
        ),
        File(SYSTEM, render("hardening/system.conf.j2")),
        File(COREDUMP, render("hardening/coredump.conf.j2")),
        File(LIMITS, render("hardening/limits.conf.j2")),
        File(WAITING, render("hardening/unattended-upgrades.conf.j2")),
        File(
            UPGRADES,
            render("hardening/apt.conf.j2", strict=strict),
            check="APT_CONFIG={} apt-config dump >/dev/null",
        ),
        File(NEEDRESTART, render("hardening/needrestart.conf.j2")),
    ]
    if strict:
        files += [
            File(MODULES, render("hardening/modprobe.conf.j2")),
            File(PROFILE, render("hardening/profile.sh.j2")),
        ]
    return files


def _sysctl(level: Hardening) -> str:
    return render("hardening/sysctl.conf.j2", strict=level == "strict")


def _said(key: str, theirs: Collection[str]) -> bool:
    """Whether a file of the operator's has a word on this key, or on one interface's of it."""
    return any(fnmatchcase(each, key) or fnmatchcase(key, each) for each in theirs)


def _folders(files: list[File]) -> list[str]:
    return sorted({str(PurePosixPath(each.path).parent) for each in files})


def _in_force(settings: str) -> str:
    """Shell: whether the kernel has every value, for every interface there is."""
    check = (
        "is() { wanted=$1; shift; for path; do now=$(cat $path); "
        '[ "$now" = "$wanted" ] || return 1; done; }'
    )
    each = (f"is '{value}' {path(key)}" for key, value in assignments(settings))
    return f"{check}; {' && '.join(each) or 'true'}"
