"""Whom an IP address stands for, where requests are counted by it."""

from __future__ import annotations

import ipaddress

_ONE_CUSTOMER = 64
"""Bits of an IPv6 prefix that one customer has at least (RFC 6177, section 2): any of its 2^64
addresses may be used for one request."""


def party(address: str) -> str:
    """The address itself, or the /64 of an IPv6 one; whatever is no address stands for itself."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed.packed, _ONE_CUSTOMER), strict=False))
