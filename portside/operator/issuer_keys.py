"""The issuer's keys as files: which one signs, which one waits to, which ones have ended.

A key goes through four states. It *waits* while nodes are told of it; it *signs*; it has an end
(`not_after`) once another signs, and until then what it signed goes on counting; and after that
only its public half is kept, which proves what it signed in its time: with whose token a file came,
by whose order one was deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import AwareDatetime, BaseModel, ValidationError

from portside import durable_file
from portside.tokens import SigningKey
from portside.wire.keys import PublicKey, thumbprint

_PRIVATE_FILE = 0o600
_DISTRUSTED = ".distrusted"


class IssuerKeyUnusable(Exception):
    """A file that holds no issuer key; the message says which and why."""


class _Notes(BaseModel):
    """What a file holds beside its JWK. Without a date, every dated key is newer."""

    created_at: AwareDatetime = datetime.fromtimestamp(0, UTC)
    waiting: bool = False
    """Nodes are told of it, and nothing is signed with it yet."""
    replaces_until: AwareDatetime | None = None
    """Until then it may take the place of issuers that this keystore has never heard of."""


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """One issuer key on disk. `signing` is None once only its public half is kept."""

    path: Path
    signing: SigningKey | None
    public: PublicKey
    created_at: datetime
    waiting: bool = False
    replaces_until: datetime | None = None

    def signs_at(self, moment: datetime) -> bool:
        """Whether new tokens may be signed with it."""
        return self.signing is not None and not self.waiting and self.public.valid_at(moment)


def make(folder: Path, issuer: str, now: datetime, **notes: Any) -> IssuerKey:
    """A new key in `folder`."""
    key = SigningKey.generate(issuer)
    path = folder / f"{key.kid}.json"
    _write(path, {**json.loads(key.to_json()), "created_at": now.isoformat(), **notes})
    return read(path)


def read(path: Path) -> IssuerKey:
    """The key in a file. Raises IssuerKeyUnusable."""
    try:
        text = path.read_text(encoding="utf-8")
        return _parsed(path, text)
    except (OSError, UnicodeDecodeError) as error:
        raise IssuerKeyUnusable(f"{path} is no issuer key: {error}") from None


def keep(folder: Path, text: str, now: datetime) -> tuple[IssuerKey, bool]:
    """Keep a private JWK from elsewhere, as a control node's issuer.json; whether it is new here.

    Raises IssuerKeyUnusable.
    """
    given = _parsed(Path("this"), text)
    if given.signing is None:
        raise IssuerKeyUnusable("it has no private half ('d')")
    path = folder / f"{given.public.kid}.json"
    if given.public.kid in distrusted(folder):
        raise IssuerKeyUnusable(
            f"{given.public.kid} was distrusted: whoever stole it could sign with it again"
        )
    if not path.exists():
        _write(path, {"created_at": now.isoformat(), **json.loads(text)})
        return read(path), True
    kept = read(path)
    if kept.signing is not None:
        return kept, False
    # Its end and its age are what they were: another signs since.
    return change(kept, d=json.loads(text)["d"]), True


def keep_public(folder: Path, key: PublicKey) -> bool:
    """Keep the public half of a key that signed before; whether it is new here.

    One that was distrusted isn't kept. Raises IssuerKeyUnusable.
    """
    if key.kid != thumbprint(key.x):
        raise IssuerKeyUnusable(f"{key.kid}: 'kid' is not the thumbprint of 'x'")
    path = folder / f"{key.kid}.json"
    if path.exists() or key.kid in distrusted(folder):
        return False
    _write(path, key.model_dump(mode="json", exclude_none=True))
    return True


def distrust(key: IssuerKey) -> None:
    """Forget a key; what stays is that it counts no more, should somebody bring it back."""
    durable_file.replace(key.path.with_suffix(_DISTRUSTED), b"", _PRIVATE_FILE)
    key.path.unlink()


def distrusted(folder: Path) -> frozenset[str]:
    """The ids of keys that were distrusted."""
    return frozenset(path.stem for path in folder.glob(f"[!.]*{_DISTRUSTED}"))


def change(key: IssuerKey, **notes: Any) -> IssuerKey:
    """The key with other notes, in its file too: None takes one away."""
    data = json.loads(key.path.read_text(encoding="utf-8")) | notes
    _write(key.path, {name: value for name, value in data.items() if value is not None})
    return read(key.path)


def ended(keys: Iterable[IssuerKey], now: datetime) -> list[IssuerKey]:
    """Those that have ended and whose private half is still here."""
    return [
        key
        for key in keys
        if key.signing is not None and key.public.not_after and key.public.not_after <= now
    ]


def _parsed(path: Path, text: str) -> IssuerKey:
    try:
        data = json.loads(text)
        if not isinstance(data, dict):
            raise ValueError("it is no JSON object")
        signing = SigningKey.from_json(text) if "d" in data or "x" not in data else None
        kid = thumbprint(str(data.get("x"))) if signing is None else signing.kid
        public = PublicKey.model_validate({**data, "kid": kid})
        notes = _Notes.model_validate(data)
    except ValidationError as error:
        raise IssuerKeyUnusable(f"{path} is no issuer key: {error.errors()[0]['msg']}") from None
    except ValueError as error:
        raise IssuerKeyUnusable(f"{path} is no issuer key: {error}") from None
    return IssuerKey(path, signing, public, notes.created_at, notes.waiting, notes.replaces_until)


def _write(path: Path, data: dict[str, Any]) -> None:
    durable_file.replace(path, (json.dumps(data) + "\n").encode(), _PRIVATE_FILE)
