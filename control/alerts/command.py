"""`portside-control alerts`: which hold, and whether those who are to be told can be reached."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from control.alerts import channels, outbox, store, text
from control.alerts.webhook import NotDelivered, NotWanted
from control.cluster import issuer
from control.settings import Settings, SettingsError


def listed(session: Session, settings: Settings) -> Iterator[str]:
    """A line for each alert that holds, the worst first, and for each way that is stuck."""
    catalogue = settings.alert_bounds.catalogue
    known = [
        (catalogue[name], subject, each)
        for (name, subject), each in store.standing(session).items()
        if name in catalogue and each.told_at is not None
    ]
    known.sort(key=lambda each: (each[0].severity, each[0].name, each[1]))
    for alert, subject, each in known:
        since = f"{each.began_at:%Y-%m-%dT%H:%M:%SZ}"
        ending = "" if each.quiet_since is None else " (not any more, it ends in minutes)"
        yield "\t".join(
            (alert.severity, alert.name, subject or "-", since, f"{each.detail}{ending}")
        )
    for channel, count, problem in outbox.waiting(session):
        yield f"{channel}: {count} messages wait: {problem or 'being tried'}"


def as_json(session: Session, settings: Settings) -> str:
    """The same for programs."""
    catalogue = settings.alert_bounds.catalogue
    return json.dumps(
        {
            "alerts": [
                {
                    "name": name,
                    "node_id": subject or None,
                    "severity": catalogue[name].severity,
                    "began_at": each.began_at.isoformat(),
                    "detail": each.detail,
                    "ending": each.quiet_since is not None,
                    "runbook": catalogue[name].runbook,
                }
                for (name, subject), each in sorted(store.standing(session).items())
                if name in catalogue and each.told_at is not None
            ],
            "stuck": [
                {"channel": channel, "messages": count, "problem": problem}
                for channel, count, problem in outbox.waiting(session)
            ],
        }
    )


def test(settings: Settings, now: datetime) -> Iterator[str]:
    """Send a test each way, now and once; a line for each that took it.

    Raises SettingsError where nobody is to be told, NotDelivered with all that didn't.
    """
    ways = channels.of(settings)
    if not ways:
        raise SettingsError(
            "nobody is told: name a webhook or a mailbox as `control.alerts` in the cluster file, "
            "then deploy"
        )
    message, wrong = text.of_test(settings.cluster, now), []
    for channel, deliver in ways.items():
        try:
            deliver(message)
        except (NotDelivered, NotWanted) as error:
            wrong.append(f"{channel}: {error}")
        else:
            yield f"{channel}: taken"
    if wrong:
        raise NotDelivered("; ".join(wrong))


def public_keys(settings: Settings) -> str:
    """What a receiver checks `Portside-Signature` with, as a JWK set (RFC 7517)."""
    key = issuer.load(settings)
    keys = [] if key is None else [key.public().model_dump(mode="json", exclude_none=True)]
    return json.dumps({"keys": keys})
