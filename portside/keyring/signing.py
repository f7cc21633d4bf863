"""A private key that is replaced under the service that signs with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from portside.keyring.followed_file import FollowedFile
from portside.tokens import SigningKey
from portside.wire.keys import PublicKey


class FollowedKey(SigningKey):
    """The key that is in a file at the moment of each signature. Thread-safe."""

    def __init__(self, path: Path, read: Callable[[Path], SigningKey]) -> None:
        """Raises what `read` raises: OSError or ValueError for a file that holds no key."""
        self._file = FollowedFile(path, read)

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self._file.current().owner

    @property
    def kid(self) -> str:
        """The id of the key that signs now."""
        return self._file.current().kid

    def public(
        self, not_before: datetime | None = None, not_after: datetime | None = None
    ) -> PublicKey:
        """The public half of the key that signs now."""
        return self._file.current().public(not_before, not_after)

    def to_json(self) -> str:
        """The private key that signs now. A secret."""
        return self._file.current().to_json()

    def sign(self, token_type: str, claims: Mapping[str, Any]) -> str:
        """A compact JWS over `claims`, with the key of this moment."""
        return self._file.current().sign(token_type, claims)
