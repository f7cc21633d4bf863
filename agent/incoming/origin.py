"""The name that a client reached this node by, so that an answer leads back the same way.

Nodes are reached through SSH tunnels, other ports, names of a CDN and addresses, and a client sends
its token to whatever URL it hears. A path alone always leads back (RFC 9110, section 10.2.2), but
TUSKit before 3.1 and go-tus before 2022 don't resolve one: it is told where the name isn't sure.
"""

from __future__ import annotations

import re

from agent.incoming.request_head import RequestHead

_AUTHORITY = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
"""A host, or an address of IPv6 in brackets, and a port (RFC 3986, section 3.2)."""


def client_origin(head: RequestHead, scheme: str) -> str:
    """`https://host:port` as the client said it, for a path to follow.

    Empty where it said nothing that can be used, and where a proxy may have put another name in its
    place. One that tells of itself (RFC 9110, section 7.6.3; RFC 7239) needs no trust for this.
    """
    host = head.header("Host")
    asked_for = head.header("X-Forwarded-Host") or host
    # The client's own X-Forwarded-Proto, as nginx passes it on: to the agent that is nginx's word.
    spoken = head.header("X-Original-Forwarded-Proto") or scheme
    if (asked_for, spoken) != (host, scheme) or head.header("Via") or head.header("Forwarded"):
        return ""
    return f"{scheme}://{host}" if _AUTHORITY.fullmatch(host) else ""
