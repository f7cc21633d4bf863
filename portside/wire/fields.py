"""Fields that several messages share: each has its pattern once, whoever sends or checks it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portside.digest import SHA256_HEX

FILE_ID_PATTERN = r"^[0-9a-f]{32}$"

_TYPE = "[A-Za-z0-9_.+-]{1,63}"
"""Half of a media type (RFC 6838, section 4.2). Not `\\w`: every script's letters, 63 times over,
take 12 MiB of every process."""

FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
TokenId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{8,128}$")]
Sha256 = Annotated[str, Field(pattern=SHA256_HEX)]
Layout = Literal["dated", "named"]
MediaType = Annotated[str, Field(pattern=f"^{_TYPE}/{_TYPE}$")]
MediaRange = Annotated[str, Field(pattern=rf"^{_TYPE}/({_TYPE}|\*)$")]
"""A media type, or every one of a kind as `image/*`."""
