"""The certificate that this node's nginx serves, and until when.

The file is root's alone, for it has the key in it; what clients see is what was loaded last, not
what lies there. So nginx is asked as a client would, on this very machine, and believed whatever it
shows: it is looked at, not trusted.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography import x509

PATIENCE = 5.0
"""Seconds for each step: it is this machine."""


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """The times between which it counts."""

    begins: datetime
    ends: datetime


def look(public_base_url: str, address: str = "127.0.0.1") -> ServedCertificate | None:
    """What is served for this URL here; None where nothing is, or no TLS."""
    parts = urlsplit(public_base_url)
    if parts.scheme != "https" or parts.hostname is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # An expired one above all has to be seen.
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((address, parts.port or 443), PATIENCE) as connection,
            context.wrap_socket(connection, server_hostname=parts.hostname) as secured,
        ):
            shown = secured.getpeercert(binary_form=True)
        if shown is None:
            return None
        found = x509.load_der_x509_certificate(shown)
    except (OSError, ValueError):
        # Nobody listens (nginx is down, which others notice), or what it sends is no certificate.
        return None
    return ServedCertificate(found.not_valid_before_utc, found.not_valid_after_utc)
