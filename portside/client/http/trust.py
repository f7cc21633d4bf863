"""Whose certificates are trusted: a named authority, the environment's, else the system's.

`requests` brings authorities of its own (certifi), so that one that was installed on this machine,
as those of companies are, would count for every program but this one.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import truststore

VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Each names a file or a folder of authorities, in place of the system's: OpenSSL's own names
first (SSL_CTX_load_verify_locations(3)), then those of requests and curl."""

_SYSTEM_FILES = (
    # Debian, Alpine, Arch; Fedora and RHEL; openSUSE; macOS and the BSDs.
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/pki/tls/certs/ca-bundle.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
    Path("/etc/ssl/cert.pem"),
)


def trusted_authorities(ca: Path | None, environment: Mapping[str, str] = os.environ) -> bool | str:
    """What `requests` is to trust: `ca`, a PEM file, alone if it is given.

    Explicit for each request, else `requests` would look at the environment by itself. Raises
    ValueError when there is no such file.
    """
    if ca is not None:
        if not ca.is_file():
            raise ValueError(f"{ca}: there is no such CA file")
        return str(ca)
    for name in VARIABLES:
        named = environment.get(name)
        if named:
            if not Path(named).exists():
                raise ValueError(f"{name}: there is no {named}: name a file of CA certificates")
            return named
    if sys.platform in ("darwin", "win32"):
        # In no file is what was added to the keychain, nor in macOS's /etc/ssl/cert.pem.
        truststore.inject_into_ssl()
        return True
    # True is what requests brings along, for a system that has no file of its own.
    return next((str(path) for path in _system_files() if path.is_file()), True)


def system_authorities() -> bytes | None:
    """The certificates that this system trusts, PEM; None where no file has them."""
    trusted = trusted_authorities(None)
    if isinstance(trusted, str) and Path(trusted).is_file():
        return Path(trusted).read_bytes()
    return None


def _system_files() -> Iterator[Path]:
    compiled_in = ssl.get_default_verify_paths().openssl_cafile
    yield from _SYSTEM_FILES
    yield Path(compiled_in)
