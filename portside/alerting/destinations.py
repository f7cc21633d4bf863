"""Where the control plane tells alerts: `control.alerts` of the cluster file.

The mailbox's password is no part of it: it lies in the cluster's keystore.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from portside.quantities import Duration
from portside.wire.hooks import origin_of

_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,190}")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}

MOST_RECIPIENTS = 20

MAIL_HOST_PATTERN = (
    r"^(([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*"
    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)$"
)
"""Labels of 63 letters at most, or an IPv6 address without brackets."""

MAIL_USER_PATTERN = r"^[ -~]+$"


def _address(text: str) -> str:
    # Nothing that could begin another header, or another recipient.
    if not _ADDRESS.fullmatch(text):
        raise ValueError(f"{text!r} is no address: write ops@example.net, without a name")
    return text


WEBHOOK_PATTERN = r"^https?://[!-~]+$"

WebhookUrl = Annotated[str, Field(pattern=WEBHOOK_PATTERN, max_length=1024)]

Address = Annotated[str, AfterValidator(_address)]


class Mail(BaseModel):
    """A mailbox, and the server that takes mail for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: tuple[Address, ...] = Field(min_length=1, max_length=MOST_RECIPIENTS)
    sender: Address
    host: str = Field(pattern=MAIL_HOST_PATTERN, max_length=253)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """`tls` from the first byte (RFC 8314), `starttls` before anything is said, or none."""
    user: str | None = Field(default=None, pattern=MAIL_USER_PATTERN, max_length=254)

    @model_validator(mode="after")
    def _no_password_in_clear(self) -> Mail:
        if self.user is not None and self.tls == "none":
            raise ValueError("user: no password travels without TLS: leave `tls: none` out")
        return self

    @property
    def port_used(self) -> int:
        """As given, or what is usual for the way it is encrypted."""
        return self.port or _PORTS[self.tls]


class Alerts(BaseModel):
    """Who is told. `repeat` is seconds until what lasts is told again, `heartbeat` seconds between
    two signs of life to the webhook, for whoever is to notice that these stop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Chat services have a secret in it.
    webhook: WebhookUrl | None = Field(default=None, repr=False)
    mail: Mail | None = None
    repeat: Duration = Field(default=86400, ge=3600, le=30 * 86400)
    heartbeat: Duration | None = Field(default=None, ge=60, le=86400)

    @model_validator(mode="after")
    def _somebody(self) -> Alerts:
        if self.webhook is None and self.mail is None:
            raise ValueError("needs a webhook or mail: nobody would be told")
        if self.webhook is not None:
            origin_of(self.webhook)
        if self.heartbeat is not None and self.webhook is None:
            raise ValueError("heartbeat: only for a webhook, for it is no mail that anybody reads")
        return self
