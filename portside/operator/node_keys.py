"""Public keys of one node beside the one that it signs with: the next, and those before.

A node makes its keys itself; a deploy brings their public halves over SSH, whose host key is
verified. So nobody but the operator adds one, and the one that follows counts because the node that
shows it is known.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from portside import durable_file
from portside.wire.keys import MOST_KEYS, PublicKey

OVERLAP = timedelta(days=1)
"""For how long a node's former key counts for what it does now: a push that is under way, a message
that waits. Receipts that it signed in its time count for good."""


class OtherKeys(BaseModel):
    """What is known of a node's other keys."""

    model_config = ConfigDict(frozen=True)

    following: PublicKey | None = None
    """The one that is to take over; everybody is told of it first."""
    former: tuple[PublicKey, ...] = ()
    """The newest first, each with its end."""
    taken_over_at: AwareDatetime | None = None

    @property
    def all(self) -> tuple[PublicKey, ...]:
        """As the roster has them."""
        following = () if self.following is None else (self.following,)
        return (*following, *self.former)[:MOST_KEYS]

    def with_following(self, key: PublicKey) -> OtherKeys:
        """Once a node has made its next key."""
        return self.model_copy(update={"following": key})

    def taken_over(self, before: PublicKey, now: datetime) -> OtherKeys:
        """Once the node signs with what was the next key, and no longer with `before`."""
        ended = before.model_copy(update={"not_after": now + OVERLAP})
        former = (ended, *(key for key in self.former if key.kid != before.kid))[: MOST_KEYS - 1]
        return OtherKeys(former=former, taken_over_at=now)


def read(path: Path) -> OtherKeys:
    """What a file says; nothing where there is none. Raises ValueError for what is no such file."""
    try:
        return OtherKeys.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return OtherKeys()
    except ValidationError as error:
        raise ValueError(f"{path} can't be used: {error.errors()[0]['msg']}") from None


def write(path: Path, keys: OtherKeys) -> None:
    """Keep it."""
    content = keys.model_dump_json(indent=2, exclude_none=True) + "\n"
    durable_file.replace(path, content.encode(), 0o644)
