"""The node's own key: made on the node, never leaves it, signs receipts.

It is replaced in two steps. `prepare` lays the next one beside it, so that its public half can be
told to everybody first; `take_over` puts it in its place by one rename, and both services sign with
it from their next signature on.
"""

from __future__ import annotations

import os
from pathlib import Path

from portside import durable_file
from portside.keyring.signing import FollowedKey
from portside.tokens import SigningKey


class IdentityError(ValueError):
    """The node's key is missing, unreadable or not this node's."""


def create(path: Path, node_id: str) -> SigningKey:
    """The key at `path`, made now if there is none. Raises IdentityError.

    The file has mode 0600 from its first byte on; an existing key is never replaced.
    """
    if not path.exists():
        durable_file.replace(path, SigningKey.generate(node_id).to_json().encode(), 0o600)
    return load(path, node_id)


def follow(path: Path, node_id: str) -> SigningKey:
    """The node's key, and whatever takes its place. Raises IdentityError with what to do."""
    return FollowedKey(path, lambda now: load(now, node_id))


def prepare(path: Path, node_id: str) -> SigningKey:
    """The key that is to take the place of the one at `path`, made now if there is none yet.

    It gets that one's owner, who may be another user than this one. Raises IdentityError.
    """
    load(path, node_id)
    following = next_to(path)
    if not following.exists():
        owner = path.stat()
        made = following.with_name(f".{following.name}.made")
        durable_file.replace(made, SigningKey.generate(node_id).to_json().encode(), 0o600)
        if os.geteuid() == 0:
            os.chown(made, owner.st_uid, owner.st_gid)
        made.rename(following)
        durable_file.sync_directory(following.parent)
    return load(following, node_id)


def take_over(path: Path, node_id: str, kid: str) -> SigningKey:
    """Put the prepared key `kid` in the place of the one at `path`, which is gone then.

    Once it is done, doing it again changes nothing. Raises IdentityError when neither is that key.
    """
    following = next_to(path)
    if following.exists():
        prepared = load(following, node_id)
        if prepared.kid != kid:
            raise IdentityError(f"{following} is the key {prepared.kid}, not {kid}: rotate again")
        following.replace(path)
        durable_file.sync_directory(path.parent)
    key = load(path, node_id)
    if key.kid != kid:
        raise IdentityError(f"{path} is the key {key.kid}, and no key {kid} was prepared")
    return key


def next_to(path: Path) -> Path:
    """Where the key waits that is to take the place of the one at `path`."""
    return path.with_name(f"{path.name}.next")


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
