"""The issuer's key, which signs upload and download tokens."""

from __future__ import annotations

from datetime import UTC, datetime

import structlog

from control.settings import Settings
from portside.tokens import SigningKey
from portside.wire.keys import Keyset

_log = structlog.get_logger()


class IssuerKeyUnusable(Exception):
    """There is an issuer's key and it can't be used; the message says why."""


def load(settings: Settings) -> SigningKey | None:
    """The issuer's key; None where there is none, so that everything but sessions works.

    Raises IssuerKeyUnusable.
    """
    path = settings.issuer_key
    if path is None:
        return None
    try:
        key = SigningKey.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _log.warning("issuer key missing", path=str(path))
        return None
    except (OSError, ValueError) as error:
        raise IssuerKeyUnusable(f"{path}: {error}") from None
    if key.owner != settings.issuer:
        raise IssuerKeyUnusable(
            f"{path} is the key of {key.owner!r}, 'issuer' says {settings.issuer!r}"
        )
    wrong = stranger(settings, key)
    if wrong:
        # Everything but sessions works all the same.
        _log.error("issuer key not trusted", detail=wrong)
    return key


def trusted(settings: Settings, key: SigningKey | None) -> Keyset:
    """The keys whose download tokens nodes take; without a keyset of theirs the issuer's alone."""
    own = () if key is None else (key.public(),)
    if settings.keyset is None:
        return Keyset(keys=own)
    try:
        return Keyset.model_validate_json(settings.keyset.read_bytes())
    except (OSError, ValueError) as error:
        # `stranger` has told; whoever has an app's key is served all the same.
        _log.error("keyset unusable", path=str(settings.keyset), error=str(error))
        return Keyset(keys=own)


def stranger(settings: Settings, key: SigningKey) -> str | None:
    """Why nodes would refuse this key's tokens, as far as their keyset tells."""
    if settings.keyset is None:
        return None
    try:
        keyset = Keyset.model_validate_json(settings.keyset.read_bytes())
    except (OSError, ValueError) as error:
        return f"{settings.keyset}: {error}"
    if keyset.find(key.kid, datetime.now(UTC)) is None:
        return (
            f"{settings.keyset} doesn't have the key {key.kid}: no node would take its tokens; "
            "deploy the nodes and the control plane again"
        )
    return None
