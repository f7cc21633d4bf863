"""The ways that the settings name, each as a function that has a message arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import structlog

from control.alerts import mail, webhook
from control.alerts.webhook import NotDelivered
from control.cluster import issuer
from control.cluster.issuer import IssuerKeyUnusable
from control.db.models import AlertChannel
from control.settings import Settings
from portside.alerting.destinations import Alerts, Mail
from portside.alerting.message import AlertMessage
from portside.tokens import SigningKey

_log = structlog.get_logger()

Deliver = Callable[[AlertMessage], None]
"""Raises NotDelivered, NotWanted."""


def names(wanted: Alerts | None) -> tuple[AlertChannel, ...]:
    """Every way that there is; none where nobody is to be told."""
    if wanted is None:
        return ()
    both: tuple[tuple[AlertChannel, bool], ...] = (
        ("webhook", wanted.webhook is not None),
        ("mail", wanted.mail is not None),
    )
    return tuple(channel for channel, is_wanted in both if is_wanted)


def of(settings: Settings) -> Mapping[AlertChannel, Deliver]:
    """How each of them delivers."""
    wanted = settings.alerts
    found: dict[AlertChannel, Deliver] = {}
    if wanted is not None and wanted.webhook is not None:
        found["webhook"] = partial(_post, wanted.webhook, _key(settings))
    if wanted is not None and wanted.mail is not None:
        found["mail"] = partial(
            _send, wanted.mail, settings.alerts_password_file, settings.control_url
        )
    return found


def _post(url: str, key: SigningKey | None, message: AlertMessage) -> None:
    webhook.post(url, message, key)


def _send(to: Mail, secret: Path | None, control_url: str, message: AlertMessage) -> None:
    # Read each time: whoever replaces it needs no restart, and a worker doesn't end for it.
    try:
        password = None if secret is None else secret.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotDelivered(f"{secret}: can't be read: {error}") from None
    mail.send(to, password, message, control_url)


def _key(settings: Settings) -> SigningKey | None:
    """The issuer's. One that can't be used stops sessions, but no alert, above all not of that."""
    try:
        return issuer.load(settings)
    except IssuerKeyUnusable as unusable:
        _log.error("alerts are not signed", problem=str(unusable))
        return None
