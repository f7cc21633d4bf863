"""Who watches the cluster and whom it tells: `monitoring` of the cluster file.

Secrets are no part of it: a mailbox's password and a webhook's token lie in the keystore.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from portside.alerting.destinations import Mail
from portside.quantities import MIB, Duration, Size
from portside.wire.fields import NodeId

RETENTION = 30 * 86400
"""See Monitoring.keep: a month shows what the same day of last week, and last month's end, was."""

LEAST_DISK = 256 * MIB
"""Prometheus writes segments of 128 MiB ahead of its blocks: with less room than two of them it
would throw away what it has just written."""

_URL = re.compile(
    r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[!-~]*)?$",
)
_IMPLICIT_TLS = 465
"""The port at which Alertmanager speaks TLS from the first byte, and at no other."""


def _network(network: str) -> str:
    try:
        ip_network(network)
    except ValueError as error:
        raise ValueError(
            f"{error}: an address, or a network as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    return network


Network = Annotated[str, AfterValidator(_network)]


class Alertmanager(BaseModel):
    """Whom alerts are told: a webhook, mailboxes, or both. The password of `mail.user` is
    `secrets/<cluster>/alerts.password`, as it is for `control.alerts`.

    With `webhook_token` each call has `Authorization: Bearer`, with what is in
    `secrets/<cluster>/webhook.token`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Chat services have a secret in it: it is shown nowhere.
    webhook: str | None = Field(default=None, max_length=2048, repr=False)
    webhook_token: bool = False
    mail: Mail | None = None

    @field_validator("webhook", mode="after")
    @classmethod
    def _url(cls, webhook: str | None) -> str | None:
        if webhook is not None and not _URL.fullmatch(webhook):
            raise ValueError("is no URL: write it as https://hooks.example.net/alerts")
        return webhook

    @model_validator(mode="after")
    def _tells_somebody(self) -> Alertmanager:
        if self.webhook is None and self.mail is None:
            raise ValueError("needs a webhook, mail, or both: leave it out to tell nobody")
        if self.mail is not None and (self.mail.tls == "tls") != (
            self.mail.port_used == _IMPLICIT_TLS
        ):
            raise ValueError(
                f"mail: Alertmanager speaks `tls: tls` at port {_IMPLICIT_TLS} and nothing else "
                "there: take `starttls` at another port"
            )
        if self.webhook_token and not (self.webhook or "").startswith("https://"):
            raise ValueError("webhook_token is for a webhook at https://")
        return self


class Monitoring(BaseModel):
    """Prometheus and Alertmanager on one node of the cluster, node_exporter on all.

    `node` is where they run, without it on the first control node. What was measured is kept for
    `keep` seconds, and on no more than `disk` bytes. `grafana` lays the board and the data source
    ready there for a Grafana of the operator's. `allow` are networks that may read every node's
    metrics besides.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    prometheus: bool = False
    grafana: bool = False
    node: NodeId | None = None
    keep: Duration = Field(default=RETENTION, ge=86400, le=5 * 365 * 86400)
    disk: Size | None = Field(default=None, ge=LEAST_DISK)
    alertmanager: Alertmanager | None = None
    allow: tuple[Network, ...] = ()

    @model_validator(mode="after")
    def _has_a_use(self) -> Monitoring:
        said = {
            "grafana": self.grafana,
            "node": self.node,
            "disk": self.disk,
            "alertmanager": self.alertmanager,
        }
        useless = [name for name, value in said.items() if value]
        if useless and not self.prometheus:
            raise ValueError(
                f"{' and '.join(useless)}: only with `prometheus: on`, which is what they are of"
            )
        return self
