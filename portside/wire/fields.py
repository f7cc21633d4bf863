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

FileId = Annotated[str, Field(pattern=FILE_ID_PATTERN)]
TokenId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._~-]{8,128}$")]
Sha256 = Annotated[str, Field(pattern=SHA256_HEX)]
Owner = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f]{1,128}$")]
"""Whose a file is, in words of the app that had it uploaded: anything but control characters."""
Ticket = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9_-]*$")]
"""What shows that a message is new; empty when its sender has none yet."""

AppId = Annotated[str, Field(pattern=APP_ID_PATTERN)]
"""An app's name, as `portside-control app create` takes it."""
Namespace = Annotated[str, Field(pattern=NAMESPACE_PATTERN)]
NamespaceOrAll = Annotated[str, Field(pattern=rf"^(\*|{_NAMESPACE})$")]
"""A namespace, or `*` for every one."""
NodeId = Annotated[str, Field(pattern=f"^{LABEL}$")]
PoolId = NodeId
"""A node has a pool of its own id; the others are named alike."""
Region = Annotated[str, Field(pattern="^[a-z0-9-]{1,32}$")]
Layout = Literal["dated", "named"]
MediaType = Annotated[str, Field(pattern=f"^{_TYPE}/{_TYPE}$")]
MediaRange = Annotated[str, Field(pattern=rf"^{_TYPE}/({_TYPE}|\*)$")]
"""A media type, or every one of a kind as `image/*`."""
