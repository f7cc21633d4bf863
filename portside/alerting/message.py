"""What the control plane sends to a webhook when something is wrong, or is right again."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from portside.wire.base import Message
from portside.wire.bounds import Amount, Label, Moment, Text

MOST_ALERTS = 100
"""In one message: of more, the rest is counted."""

AlertState = Literal["began", "lasts", "ended"]


class ToldAlert(Message):
    """One alert of one node, or of the whole cluster."""

    name: Label
    """As in docs/runbook.md."""
    node_id: Label | None
    """None: of the cluster."""
    state: AlertState
    severity: Literal["critical", "warning"]
    meaning: Text
    detail: Text
    """What was measured last while it held."""
    began_at: Moment
    ended_at: Moment | None = None
    runbook: Text


class AlertMessage(Message):
    """The body of an alert's webhook. One may come more than once, with the same `delivery_id`.

    `heartbeat` says that the control plane's worker is alive, `test` that the way is open; both
    have no alerts.
    """

    event: Literal["alerts", "test", "heartbeat"]
    delivery_id: Label
    cluster: Label
    at: Moment
    text: Text
    """The same in words for people: chat services show it."""
    alerts: Annotated[tuple[ToldAlert, ...], Field(max_length=MOST_ALERTS, fail_fast=True)] = ()
    more: Amount = 0
    """Alerts beyond those of this message."""
