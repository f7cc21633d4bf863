"""The issuer's key, which signs upload and download tokens, and the keys that nodes trust.

Both files are followed: a rotation changes them under the running control plane.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from control.settings import Settings
from portside.keyring.followed_file import FollowedFile
from portside.keyring.signing import FollowedKey
from portside.tokens import SigningKey
from portside.wire.keys import Keyset

_log = structlog.get_logger()


class IssuerKeyUnusable(Exception):
    """There is an issuer's key and it can't be used; the message says why."""


def load(settings: Settings) -> SigningKey | None:
    """The issuer's key, and whichever takes its place; None where there is none, so that
    everything but sessions works.

    Raises IssuerKeyUnusable.
    """
    path = settings.issuer_key
    if path is None:
        return None
    try:
        key = FollowedKey(path, lambda now: _read(now, settings.issuer))
    except FileNotFoundError:
        _log.warning("issuer key missing", path=str(path))
        return None
    except OSError as error:
        raise IssuerKeyUnusable(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise IssuerKeyUnusable(f"{path}{error}") from None
    wrong = stranger(settings, key)
    if wrong:
        # Everything but sessions works all the same.
        _log.error("issuer key not trusted", detail=wrong)
    return key


def _read(path: Path, issuer: str) -> SigningKey:
    try:
        key = SigningKey.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f": {error}") from None
    if key.owner != issuer:
        raise ValueError(f" is the key of {key.owner!r}, 'issuer' says {issuer!r}")
    return key


def trusted(settings: Settings, key: SigningKey | None) -> Callable[[], Keyset]:
    """Asks for the keys whose tokens nodes take; without a keyset of theirs the issuer's alone."""

    def own() -> Keyset:
        return Keyset(keys=() if key is None else (key.public(),))

    if settings.keyset is None:
        return own
    try:
        return FollowedFile(settings.keyset, read_keyset).current
    except (OSError, ValueError) as error:
        # `stranger` has told; whoever has an app's key is served all the same.
        _log.error("keyset unusable", path=str(settings.keyset), error=str(error))
        return own


def read_keyset(path: Path) -> Keyset:
    """A keyset's file. Raises OSError, and ValueError for what is no keyset."""
    return Keyset.model_validate_json(path.read_bytes())


def stranger(settings: Settings, key: SigningKey) -> str | None:
    """Why nodes would refuse this key's tokens, as far as their keyset tells."""
    if settings.keyset is None:
        return None
    try:
        keyset = read_keyset(settings.keyset)
    except (OSError, ValueError) as error:
        return f"{settings.keyset}: {error}"
    if keyset.find(key.kid, datetime.now(UTC)) is None:
        return (
            f"{settings.keyset} doesn't have the key {key.kid}: no node would take its tokens; "
            "deploy the nodes and the control plane again"
        )
    return None
