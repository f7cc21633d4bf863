"""Which ACME authority (RFC 8555) certificates come from, and what it is asked for."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
LETS_ENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

_DIRECTORY = re.compile(r"^https://[a-z0-9.-]+(:\d{1,5})?(/[\w./~-]*)?$")


def _directory(url: str) -> str:
    if not _DIRECTORY.fullmatch(url):
        raise ValueError(
            f"{url!r} must be the URL of an ACME directory, as https://ca.example.net/acme/directory"
        )
    return url


DirectoryUrl = Annotated[str, AfterValidator(_directory)]

Profile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
"""The name of a kind of certificate that the authority's directory lists."""
