"""What a host serves besides, and what becomes of that behind Portside's firewall: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from portside.cluster.firewall import Allowed

_UNMISSED = frozenset(
    {
        # Answers to DHCP and to time servers come back to who asked; DHCPv6's are let in.
        *(("udp", port) for port in (68, 123, 323, 546)),
        # Names of the local network, where a Debian has brought them along; portmap.
        *(("udp", port) for port in (111, 5353, 5355)),
        *(("tcp", port) for port in (111, 5355)),
    }
)
"""What Debians have open without anybody's wish."""

_CONTAINERS = ("docker-proxy", "conmon")
"""What they hold is forwarded to containers, which the firewall leaves alone."""


@dataclass(frozen=True, slots=True)
class Served:
    """A port that others than the host itself reach; `tunnel`: it may carry a network of its own.

    `process` is None where the kernel itself has it: WireGuard.
    """

    port: int
    protocol: str
    process: str | None
    tunnel: bool = False

    @property
    def rule(self) -> str:
        """As `firewall.allow` has it."""
        return f"{self.port}/{self.protocol}"


def unopened(
    served: Iterable[Served], tcp_ports: Collection[int], allowed: Sequence[Allowed]
) -> list[Served]:
    """What the firewall closes: neither among Portside's own ports and SSH's, nor allowed."""
    return [
        each
        for each in served
        if (each.protocol, each.port) not in _UNMISSED
        and each.process not in _CONTAINERS
        and not (each.protocol == "tcp" and each.port in tcp_ports)
        and not any(
            rule.protocol == each.protocol and rule.first <= each.port <= rule.last
            for rule in allowed
        )
    ]


def note(closed: Sequence[Served]) -> str:
    """What an operator should know before the firewall comes."""
    named = ", ".join(f"{each.process or 'the kernel'} ({each.rule})" for each in closed)
    return (
        f"the firewall closes what the cluster file doesn't name: nothing will reach {named}; for "
        f"what is to be reached add {_wanted(closed)}"
    )


def lockout(interface: str, closed: Sequence[Served]) -> str | None:
    """Why a login by a tunnel would be the last one, if so.

    The proof by a new login can't see it: packets of the tunnel that runs still come in.
    """
    carriers = [each for each in closed if each.tunnel]
    if not carriers:
        return None
    return (
        f"this login came by the tunnel {interface}, and the firewall would close what may carry "
        f"it ({', '.join(each.rule for each in carriers)}): add {_wanted(carriers)}"
    )


def _wanted(closed: Sequence[Served]) -> str:
    rules = dict.fromkeys(each.rule for each in closed)
    return f"`firewall: {{allow: [{', '.join(rules)}]}}`"
