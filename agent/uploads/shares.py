"""Whose an upload is, and how many slots one party may have. Pure.

No token, owner or address takes a whole node: the others' uploads go on beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Literal

Kind = Literal["upload", "copy", "waiting"]
"""An upload; a copy that another node sends; an upload that is stored and waits for its copy."""

_SITE = 64
"""Bits of an IPv6 address that stand for one line: a household has at least that (RFC 6177)."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose an upload is; `address` is as nginx tells it, empty where nobody does."""

    token: str
    owner: str
    address: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """What one party may have of the slots. `party` tells it from others, `words` to people."""

    party: tuple[str, str]
    most: int
    words: str


@dataclass(frozen=True, slots=True)
class SlotShares:
    """The shares of one node. Those of owner and address are of all its slots, 1 for no bound."""

    per_token: int
    per_owner: float
    per_address: float
    shared_addresses: tuple[str, ...] = ()
    """Networks behind whose addresses are many users: a proxy, an office. They have no share."""
    least_rate: int = 1024
    """Bytes per second; who is behind it for too long gives way when slots are scarce."""
    idle_after: float = 60.0
    """Seconds behind it: longer than any pause of a line that works."""

    def of(self, sender: Sender, slots: int) -> Iterator[Share]:
        """The shares that an upload of `sender` counts against, on a node with so many slots.

        One that is no smaller than the node is none.
        """
        everything = (
            Share(("token", sender.token), self.per_token, "this token"),
            Share(("owner", sender.owner), part(self.per_owner, slots), "this token's owner"),
            Share(
                ("address", place := self._place(sender.address)),
                part(self.per_address, slots),
                place,
            ),
        )
        return (each for each in everything if each.party[1] and each.most < slots)

    def _place(self, address: str) -> str:
        """The address that counts: of IPv6 its network; empty for one that doesn't."""
        try:
            found = ip_address(address)
        except ValueError:
            return ""
        mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
        plain: IPv4Address | IPv6Address = mapped or found
        if any(plain in ip_network(each) for each in self.shared_addresses):
            return ""
        if isinstance(plain, IPv6Address):
            return str(ip_network((int(plain), _SITE), strict=False))
        return str(plain)


def part(share: float, slots: int) -> int:
    """A share of so many slots: one at least."""
    return max(1, int(share * slots))
