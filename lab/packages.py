"""Installs what the lab needs from Debian, on a machine that has nothing but its base system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab.commands import Problem, run, run_tied
from lab.terminal import step

NEEDED = (
    "debian-archive-keyring",
    "dnsmasq-base",
    "iproute2",
    "iptables",
    "lxc",
    "mmdebstrap",
    "openssh-client",
)
ELSEWHERE = (
    "Elsewhere use virtual machines:\n"
    "  vagrant up --provider=libvirt      or      vagrant up --provider=virtualbox"
)


def require_root_on_debian() -> None:
    if not sys.platform.startswith("linux") or not Path("/etc/debian_version").exists():
        raise Problem(f"this lab runs in containers on Debian.\n{ELSEWHERE}")
    if os.geteuid() != 0:
        raise Problem("containers with their own systemd need root: run this again as root")


def install_missing() -> None:
    known = run("dpkg-query", "--show", "--showformat", "${Package} ${Status}\\n")
    missing = missing_packages(known)
    if not missing:
        return
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    with step(f"install {' '.join(missing)}"):
        run_tied("apt-get", "update", "--quiet", env=quiet)
        run_tied(
            "apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *missing, env=quiet
        )


def missing_packages(dpkg_listing: str) -> list[str]:
    """The listing has a line per known package: its name, then a status of three words."""
    installed = {
        line.split()[0] for line in dpkg_listing.splitlines() if line.endswith(" installed")
    }
    return [name for name in NEEDED if name not in installed]
