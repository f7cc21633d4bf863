"""What comes in beside what a node serves: `firewall` of the cluster file.

Pure. A rule is written as `51820/udp`, `6000-6010/tcp` or `9100/tcp from 192.0.2.0/24`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, field_validator

_RULE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?/(tcp|udp)(?:\s+from\s+(\S+))?")
_FORM = "51820/udp, 6000-6010/tcp or 9100/tcp from 192.0.2.0/24"


@dataclass(frozen=True, slots=True)
class Allowed:
    """Ports of one protocol, from everywhere or from one network."""

    first: int
    last: int
    protocol: Literal["tcp", "udp"]
    network: IPv4Network | IPv6Network | None = None

    @property
    def nftables(self) -> str:
        """The rule's condition in nft(8)'s words: `ip saddr 192.0.2.0/24 tcp dport 9100`."""
        ports = f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"
        family = "" if self.network is None else "ip" if self.network.version == 4 else "ip6"
        source = f"{family} saddr {self.network} " if family else ""
        return f"{source}{self.protocol} dport {ports}"


def parse(rule: str) -> Allowed:
    """Read one rule. Raises ValueError with what is wrong and how to write it."""
    found = _RULE.fullmatch(rule.strip())
    if found is None:
        raise ValueError(f"{rule!r} is no rule: write it as {_FORM}")
    first = int(found[1])
    last = int(found[2] or first)
    if not 1 <= first <= last <= 65535:
        raise ValueError(f"{rule!r}: ports are 1 to 65535, the lower one first")
    try:
        network = ip_network(found[4]) if found[4] else None
    except ValueError as error:
        raise ValueError(
            f"{rule!r}: {error}: an address, or a network as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    return Allowed(first, last, "tcp" if found[3] == "tcp" else "udp", network)


def _readable(rule: str) -> str:
    parse(rule)
    return rule


class Firewall(BaseModel):
    """`allow`: what else comes in. `mode: off` leaves the node to a firewall of somebody else's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Literal["on", "off"] = "on"
    allow: tuple[Annotated[str, AfterValidator(_readable)], ...] = ()

    @field_validator("mode", mode="before")
    @classmethod
    def _as_yaml_reads_it(cls, mode: Any) -> Any:
        """YAML 1.1 takes on and off without quotes for true and false."""
        return {True: "on", False: "off"}.get(mode, mode) if isinstance(mode, bool) else mode

    @property
    def rules(self) -> tuple[Allowed, ...]:
        """Every rule of `allow`, read."""
        return tuple(parse(rule) for rule in self.allow)
