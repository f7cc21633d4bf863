"""The node's own key: made on the node, never leaves it, signs receipts."""

from __future__ import annotations

import os
from pathlib import Path

from portside.tokens import SigningKey


class IdentityError(Exception):
    """The node's key is missing, unreadable or not this node's."""


def create(path: Path, node_id: str) -> SigningKey:
    """The key at `path`, made now if there is none. Raises IdentityError.

    The file has mode 0600 from its first byte on; an existing key is never replaced.
    """
    if not path.exists():
        key = SigningKey.generate(node_id)
        temporary = path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(key.to_json())
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    return load(path, node_id)


def load(path: Path, node_id: str) -> SigningKey:
    """Read the node's key. Raises IdentityError with what to do."""
    try:
        key = SigningKey.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IdentityError(f"{path} is missing: run `portside-agent identity --create`") from None
    except (OSError, ValueError) as error:
        raise IdentityError(f"{path} can't be used: {error}") from None
    if key.owner != node_id:
        raise IdentityError(f"{path} is the key of {key.owner!r}, this node is {node_id!r}")
    return key
