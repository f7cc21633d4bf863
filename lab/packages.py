"""Installs what the lab needs from Debian, on a machine that has nothing but its base system."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lab.commands import Problem, run, run_tied
from lab.terminal import step

NEEDED = (
    "bridge-utils",
    "debian-archive-keyring",
    "dnsmasq-base",
    "iproute2",
    "iptables",
    "lxc",
    "mmdebstrap",
    "openssh-client",
    "redir",
    "sudo",
    "vagrant",
    "vagrant-lxc",
)


def require_root_on_debian() -> None:
    if not sys.platform.startswith("linux") or not Path("/etc/debian_version").exists():
        raise Problem(
            "this lab runs in containers on Debian. Elsewhere use virtual machines:\n"
            "  vagrant up --provider=libvirt      or      vagrant up --provider=virtualbox"
        )
    if os.geteuid() != 0:
        raise Problem("containers with their own systemd need root: run this again as root")


def install_missing() -> None:
    missing = missing_packages(run("dpkg-query", "--show", "--showformat", "${Package} ${Status}\n"))
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
