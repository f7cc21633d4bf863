"""What happens after a commit, a scan or a deletion: hooks as they are configured, the event that a
webhook brings, and what its signature attests to.
"""

from __future__ import annotations

import shlex
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator

from portside.wire.base import Message
from portside.wire.bounds import MOST_COPIES, Amount, Label, Name, Text, UnixTime
from portside.wire.fields import NamespaceOrAll, Sha256, TokenId
from portside.wire.files import StoredFile

Occasion = Literal["committed", "deleted", "checked"]
"""What a hook can hear of. A file that only moves from node to node is not deleted; one is checked
once a virus scanner has come to a verdict, which `file.hold` tells."""


class Hook(Message):
    """What happens after a commit, a scan or a deletion in a namespace (`*` is every one): a
    command or a webhook.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: NamespaceOrAll
    events: tuple[Occasion, ...] = Field(
        default=("committed",), min_length=1, max_length=8, fail_fast=True
    )
    command: tuple[Text, ...] | None = Field(
        default=None, min_length=1, max_length=256, fail_fast=True
    )
    url: Annotated[str, Field(pattern=r"^https?://[!-~]+$", max_length=1024)] | None = None

    @field_validator("url")
    @classmethod
    def _can_be_asked(cls, value: str | None) -> str | None:
        if value is not None:
            origin_of(value)
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Hook:
        if (self.command is None) == (self.url is None):
            raise ValueError("a hook is either a 'command' or a 'url'")
        return self

    @property
    def target(self) -> str:
        """What tells this hook from the others: the URL, or the command as one line of shell."""
        return self.url if self.url is not None else shlex.join(self.command or ())


def origin_of(url: str) -> str:
    """Scheme, host and port of a webhook's URL, the port only where it isn't the scheme's own.

    Raises ValueError when there is no host in it or a user: deliveries are signed instead.
    """
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("a webhook's URL has a host, and neither user nor password")
    if parts.fragment:
        raise ValueError("a webhook's URL has no fragment")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    own = {"http": 80, "https": 443}.get(parts.scheme)
    port = "" if parts.port in (None, own) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


class HookClaims(Message):
    """What a `hook+jwt` attests to: this node sent this very body to this origin, just now."""

    iss: Label = Field(min_length=1, max_length=64)
    aud: Label = Field(min_length=1, max_length=1024)
    iat: UnixTime
    jti: TokenId
    sha256: Sha256


class HookEvent(Message):
    """The body of a webhook. A delivery may come more than once, its attempts counted from 1."""

    event: Literal["file.committed", "file.deleted", "file.checked"] = "file.committed"
    delivery_id: Label
    node_id: Label
    attempt: Amount
    file: StoredFile
    surrogate_key: Name = ""
    """What a CDN has the file's answers under: its `Surrogate-Key`."""
    urls: tuple[Text, ...] = Field(default=(), max_length=MOST_COPIES, fail_fast=True)
    """Where the node that tells it serves the file, or did, the lasting URL first."""
