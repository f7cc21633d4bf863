"""The firewall: SSH and what the node serves come in, everything else is dropped."""

from __future__ import annotations

from pyinfra.api.deploy import deploy
from pyinfra.context import host

from deploys import layout
from deploys.hosts.node import Node
from deploys.hosts.ssh_server import SshServer, SshServerState
from deploys.operations.files import File, Guard
from deploys.operations.guarded import guarded
from deploys.operations.reloading import unit_file
from deploys.operations.removal import Removal
from deploys.operations.rendering import render
from deploys.operations.services import converged

_RULES = f"{layout.SETTINGS}/firewall.nft"
_SERVICE = "portside-firewall.service"
_UNIT = unit_file(_SERVICE)

_BESIDE = f"{layout.UNITS}/nftables.service.d"
_AFTER_FLUSHES = f"{_BESIDE}/portside.conf"

_DEBIANS = "/etc/nftables.conf"
_WAS_OURS = f"grep -q '^# Written by Portside' {_DEBIANS} 2>/dev/null"


REMOVAL = Removal(
    units=(_SERVICE,),
    files=(_RULES, _AFTER_FLUSHES),
    folders=(_BESIDE,),
    machine=True,
    # Stopping it has removed the table already, where it ran.
    then="systemctl daemon-reload; nft delete table inet portside 2>/dev/null || true",
)
"""Our table and what loads it: every other table stays."""


@deploy("Firewall")
def firewall(node: Node) -> None:
    """One nftables table of our own, loaded by a service of our own: what else the node has stays.

    A policy of dropping in a table of somebody else's still drops: nftables asks every table.
    """
    if node.cluster.firewall.mode == "off":
        _none()
        return
    guarded(
        name="Firewall rules, proven by a new login",
        subject="firewall",
        files=[
            File(
                _RULES,
                render(
                    "nftables/firewall.nft.j2",
                    ports=open_ports(node, host.get_fact(SshServer)),
                    allowed=node.cluster.firewall.rules,
                ),
                check="nft -c -f {}",
            ),
            File(_UNIT, render("systemd/portside-firewall.service.j2", rules=_RULES)),
            File(_AFTER_FLUSHES, render("systemd/nftables_reload.conf.j2", rules=_RULES)),
        ],
        guards=[Guard(f"mkdir -p {_BESIDE}", f"{_BESIDE} can't be made")],
        # Starting it reads the rules; a running one reads them again, in one transaction.
        apply=f"systemctl daemon-reload && systemctl enable --quiet {_SERVICE} && "
        f"systemctl reload-or-restart {_SERVICE}",
        undo=f"""\
if [ -e {_UNIT} ]; then
    systemctl daemon-reload; systemctl reload-or-restart {_SERVICE}
else
    rm -f /etc/systemd/system/*.wants/{_SERVICE}
    systemctl stop {_SERVICE}; systemctl daemon-reload; nft delete table inet portside
    # A node of an older release has its rules there.
    if {_WAS_OURS}; then nft -f {_DEBIANS}; fi
fi""",
        holds=f"systemctl is-enabled --quiet {_SERVICE} && "
        f"systemctl is-active --quiet {_SERVICE} && nft list table inet portside",
    )
    converged(
        name="Rules of older releases are gone",
        service="nftables",
        holds=f"! {_WAS_OURS}",
        otherwise=_debians_own_file(),
    )


def open_ports(node: Node, server: SshServerState | None) -> list[int]:
    """TCP ports that are open to all: what the node serves, and every way in by SSH.

    That is each port of the SSH server, and the one this very connection came in by: behind a
    forwarded port it is not the one in the cluster file.
    """
    listens = server.ports if server else ()
    return sorted({*node.ports, *listens, node.facts.ssh_port or node.cluster.ssh.port or 22})


def _none() -> None:
    converged(
        name="No firewall of ours",
        service="firewall",
        holds=f"! {{ [ -e {_UNIT} ] || nft list table inet portside; }}",
        otherwise=f"systemctl disable --quiet --now {_SERVICE} || true; "
        f"rm -f {_UNIT} {_RULES} {_AFTER_FLUSHES}; "
        "systemctl daemon-reload; nft delete table inet portside 2>/dev/null || true; "
        f"if {_WAS_OURS}; then {_debians_own_file()}; fi",
    )


def _debians_own_file() -> str:
    """Shell: /etc/nftables.conf as the package has it, in place of the rules that were ours there.

    The table that is loaded stays: our own service has it.
    """
    default = render("nftables/debian.conf.j2")
    # We had enabled it. Stopping it would flush every table, Docker's too.
    return f"""\
cat > {_DEBIANS}.new <<'RULES'
{default}RULES
chmod 0755 {_DEBIANS}.new
mv -fT {_DEBIANS}.new {_DEBIANS}
systemctl disable --quiet nftables.service"""
