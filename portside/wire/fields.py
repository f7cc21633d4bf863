"""Fields that several messages share: each has its pattern once, whoever sends or checks it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portside.digest import SHA256_HEX

FILE_ID_PATTERN = r"^[0-9a-f]{32}$"

_NAMESPACE = "[a-z0-9][a-z0-9_-]{0,63}"
NAMESPACE_PATTERN = f"^{_NAMESPACE}$"

APP_ID_PATTERN = "^[a-z0-9][a-z0-9-]{0,62}$"

LABEL = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""One label of a host name (RFC 1123) in lower case: a node's id is the first of its name."""

_TYPE = "[A-Za-z0-9_.+-]{1,63}"
"""Half of a media type (RFC 6838, section 4.2). Not `\\w`: every script's letters, 63 times over,
take 12 MiB of every process."""

JTI_PATTERN = r"^[A-Za-z0-9._~-]{8,128}$"
OWNER_PATTERN = r"^[^\x00-\x1f\x7f]{1,128}$"
NAMESPACE_OR_ALL_PATTERN = rf"^(\*|{_NAMESPACE})$"
NODE_ID_PATTERN = f"^{LABEL}$"
REGION_PATTERN = "^[a-z0-9-]{1,32}$"
MEDIA_TYPE_PATTERN = f"^{_TYPE}/{_TYPE}$"
MEDIA_RANGE_PATTERN = rf"^{_TYPE}/({_TYPE}|\*)$"

Order = Annotated[str, Field(max_length=8192)]
"""A signed token that is handed on as it came: as long as a header that nginx takes."""

FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
TokenId = Annotated[str, Field(pattern=JTI_PATTERN)]
Sha256 = Annotated[str, Field(pattern=SHA256_HEX)]
Owner = Annotated[str, Field(pattern=OWNER_PATTERN)]
"""Whose a file is, in words of the app that had it uploaded: anything but control characters."""
Ticket = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")]
"""What shows that a message is new; empty when its sender has none yet."""

AppId = Annotated[str, Field(pattern=APP_ID_PATTERN)]
"""An app's name, as `portside-control app create` takes it."""
Namespace = Annotated[str, Field(pattern=NAMESPACE_PATTERN)]
NamespaceOrAll = Annotated[str, Field(pattern=NAMESPACE_OR_ALL_PATTERN)]
"""A namespace, or `*` for every one."""
NodeId = Annotated[str, Field(pattern=NODE_ID_PATTERN)]
PoolId = NodeId
"""A node has a pool of its own id; the others are named alike."""
Region = Annotated[str, Field(pattern=REGION_PATTERN)]
Layout = Literal["dated", "named"]
MediaType = Annotated[str, Field(pattern=MEDIA_TYPE_PATTERN)]
MediaRange = Annotated[str, Field(pattern=MEDIA_RANGE_PATTERN)]
"""A media type, or every one of a kind as `image/*`."""

LONGEST = 100 * 365 * 86400
"""Seconds of the longest lifetime: whoever wants more wants none."""

LATEST = 2**33
"""Unix seconds (in the year 2242): later than the longest lifetime of today's files."""

ExpiresAt = Annotated[int, Field(ge=0, le=LATEST)]
"""When a file ends, Unix seconds."""

ExpiresIn = Annotated[int, Field(gt=0, le=LONGEST)]
"""Seconds from a file's commit to its end."""
