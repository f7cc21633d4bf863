"""An alert's message in words: what chat services show, and what a mail says."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from control.alerts.outbox import new_id
from portside.alerting.message import MOST_ALERTS, AlertMessage, ToldAlert
from portside.quantities import format_duration

_STATES = {"began": "", "lasts": "still: ", "ended": "over: "}
_LONGEST = 4000
"""Characters: what is said beyond is in the list of alerts, and in the next message."""


def of_alerts(cluster: str, told: Sequence[ToldAlert], now: datetime) -> AlertMessage:
    """One message about all of them: the worst first, what is over last."""
    ordered = sorted(told, key=lambda each: (each.state == "ended", each.severity, each.name))
    kept = tuple(ordered[:MOST_ALERTS])
    lines = [line(each) for each in kept]
    more = len(told) - len(kept)
    if more:
        lines.append(f"and {more} more: `portside-control alerts` on the control node lists them")
    return AlertMessage(
        event="alerts",
        delivery_id=new_id(),
        cluster=cluster,
        at=now,
        text="\n".join(lines)[:_LONGEST],
        alerts=kept,
        more=more,
    )


def of_test(cluster: str, now: datetime) -> AlertMessage:
    """One that shows that the way is open."""
    text = f"{cluster}: this is a test; alerts of this cluster come this way"
    return AlertMessage(event="test", delivery_id=new_id(), cluster=cluster, at=now, text=text)


def of_heartbeat(cluster: str, now: datetime) -> AlertMessage:
    """One that says that the control plane's worker goes its rounds."""
    text = f"{cluster}: the control plane looks after its nodes"
    return AlertMessage(event="heartbeat", delivery_id=new_id(), cluster=cluster, at=now, text=text)


def line(alert: ToldAlert) -> str:
    """One alert in a line."""
    whose = f"{alert.node_id}: " if alert.node_id else ""
    detail = f" ({alert.detail})" if alert.detail else ""
    after = ""
    if alert.ended_at is not None:
        lasted = (alert.ended_at - alert.began_at).total_seconds()
        after = f", after {format_duration(lasted)}"
    state = _STATES[alert.state]
    return f"{state}{alert.severity}: {whose}{alert.meaning}{detail}{after}"


def subject(message: AlertMessage) -> str:
    """Of a mail: what is worst, and how much else there is."""
    if not message.alerts:
        return f"[{message.cluster}] {message.event}"
    first, others = message.alerts[0], len(message.alerts) + message.more - 1
    whose = f" on {first.node_id}" if first.node_id else ""
    more = f" and {others} more" if others else ""
    return f"[{message.cluster}] {_STATES[first.state]}{first.name}{whose}{more}"


def body(message: AlertMessage) -> str:
    """Of a mail."""
    pages = dict.fromkeys(each.runbook for each in message.alerts)
    parts = [message.text, "\n".join(f"What to do: {page}" for page in pages)]
    return "\n\n".join(part for part in parts if part) + "\n"
