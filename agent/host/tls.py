"""Whose certificates the node believes when it talks to other nodes and to the control plane.

Where the cluster has an authority of its own (`settings.ca`), its members are known by that alone;
otherwise by the system's authorities. Receivers of webhooks are strangers and always judged by the
system's.
"""

from __future__ import annotations

import ssl
from functools import cache
from pathlib import Path


class TrustError(ValueError):
    """The authority's certificate can't be used; the message says which file and why."""


@cache
def trust(ca: Path | None = None) -> ssl.SSLContext:
    """A client's context: certificate and host name verified, TLS 1.2 or newer.

    Read once for each `ca`: authorities take some MiB and some milliseconds. A new file is seen by
    the next process; the deploy restarts the agent for it. Raises TrustError.
    """
    try:
        context = ssl.create_default_context(cafile=ca)
    except OSError as error:
        # ssl.SSLError is one as well: a file that is no PEM.
        raise TrustError(f"ca: {ca} can't be used: {error}") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
