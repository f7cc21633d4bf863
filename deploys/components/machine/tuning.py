"""The kernel: TCP windows from the sizing, BBR and fq for what the node sends, short fsyncs.

In a container some of these belong to the machine underneath. What can't be set there is left out,
and the run says which.
"""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from deploys.hosts.facts import NodeFacts
from deploys.hosts.node import Node
from deploys.operations.files import File, files_in_place
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import Level, converged
from portside.sizing import Sizing

SYSCTL_FILE = "/etc/sysctl.d/90-portside.conf"


REMOVAL = Removal(files=(SYSCTL_FILE,), machine=True)
"""The file: what the kernel has read from it counts until the next boot."""


def wanted(sizing: Sizing) -> dict[str, str]:
    """Every kernel setting a node should have."""
    return {
        "net.ipv4.tcp_rmem": f"4096 131072 {sizing.tcp_window}",
        "net.ipv4.tcp_wmem": f"4096 65536 {sizing.tcp_window}",
        "net.ipv4.tcp_congestion_control": "bbr",
        "net.ipv4.tcp_slow_start_after_idle": "0",
        "net.ipv4.tcp_mtu_probing": "1",
        "net.core.default_qdisc": "fq",
        "vm.dirty_background_bytes": str(sizing.dirty_background_bytes),
        "vm.dirty_bytes": str(sizing.dirty_bytes),
    }


def settable(settings: dict[str, str], facts: NodeFacts) -> dict[str, str]:
    """Those of `settings` that this node may set itself."""
    possible = {key: value for key, value in settings.items() if key in facts.settable_sysctls}
    # A container can't load the kernel's module: bbr must be there already.
    if facts.container and "bbr" not in facts.congestion_controls:
        possible.pop("net.ipv4.tcp_congestion_control", None)
    return possible


@deploy("Tuning")
def tuning(node: Node) -> None:
    """A sysctl.d file (Debian 13 reads no /etc/sysctl.conf), applied now and at every boot."""
    settings = wanted(node.sizing)
    possible = settable(settings, node.facts)
    skipped = sorted(settings.keys() - possible.keys())
    if skipped:
        where = "in this container" if node.facts.container else "on this kernel"
        host.log(f"can't be set {where}, skipped: {', '.join(skipped)}")
    if node.open_files < node.sizing.open_files:
        host.log(
            f"open files are limited to {node.open_files} by this container, "
            f"{node.sizing.open_files} were wanted"
        )
    files_in_place(
        name="Kernel settings",
        files=[
            File(
                SYSCTL_FILE,
                render("tuning/sysctl.conf.j2", settings=possible, skipped=skipped),
            )
        ],
    )
    converged(
        name="Kernel settings are in force",
        service="sysctl",
        levels=[Level((SYSCTL_FILE,), f"/usr/lib/systemd/systemd-sysctl {SYSCTL_FILE}")],
        holds=" && ".join(_is_set(key, value) for key, value in possible.items()) or "true",
    )


def _is_set(key: str, value: str) -> str:
    # The kernel separates the numbers of one setting by tabs.
    return f"[ \"$(tr '\\t' ' ' < /proc/sys/{key.replace('.', '/')})\" = '{value}' ]"
