"""The node's own key: made on the node, never leaves it, signs receipts."""

from __future__ import annotations

from pathlib import Path

from portside import durable_file
from portside.tokens import SigningKey


class IdentityError(Exception):
    """The node's key is missing, unreadable or not this node's."""


def create(path: Path, node_id: str) -> SigningKey:
    """The key at `path`, made now if there is none. Raises IdentityError.

    The file has mode 0600 from its first byte on; an existing key is never replaced.
    """
    if not path.exists():
        durable_file.replace(path, SigningKey.generate(node_id).to_json().encode(), 0o600)
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
