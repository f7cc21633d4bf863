"""`portside-agent revoke` and `revoked`: tokens that count no more on this node.

For clusters without a control plane, which would tell every node. A token is read from standard
input: on a command line everybody on the machine would see it.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from typing import TextIO

from agent.index.revocations import Revocations
from agent.settings import Settings
from agent.storage.opening import open_index
from portside.tokens import TokenRefused, revocable
from portside.wire.fields import JTI_PATTERN
from portside.wire.keys import LONGEST_UNKNOWN, Keyset

FROM_INPUT = "-"
"""In place of an id: the token, or its id, is read from standard input."""

_LONGEST = 16384
"""Characters of standard input that are read: twice what a header can hold."""


def revoke(settings: Settings, named: str, reason: str, stdin: TextIO) -> str:
    """Revoke a token, or the one with this id, for as long as it would count.

    Returns what to say. Raises ValueError for what is neither, and for a token that no one takes.
    """
    text = (stdin.read(_LONGEST) if named == FROM_INPUT else named).strip()
    token_id, until = _meant(settings, text)
    database = open_index(settings)
    try:
        Revocations(database).revoke(token_id, until, reason, settings.revoked)
    finally:
        database.close()
    return f"{token_id} is revoked on {settings.node_id} until {_moment(until)}"


def listed(settings: Settings) -> str:
    """Every token that is revoked here, the newest first: id, since when, until when, why."""
    database = open_index(settings)
    try:
        found = Revocations(database).all()
    finally:
        database.close()
    lines = [
        "\t".join(
            (
                each.token_id,
                _moment(each.told_at),
                _moment(each.until) if each.until else "as told",
                each.reason,
            )
        )
        for each in found
    ]
    return "\n".join(lines) or "no token is revoked here"


def _meant(settings: Settings, text: str) -> tuple[str, int]:
    """The id of the token that is meant, and until when it would count (Unix seconds)."""
    # The signature alone makes a token longer than any id.
    if re.fullmatch(JTI_PATTERN, text):
        return text, int(time.time()) + LONGEST_UNKNOWN
    try:
        found = revocable(text, Keyset.model_validate_json(settings.keyset.read_bytes()))
    except TokenRefused as refused:
        raise ValueError(
            f"it is no token's id, and as a token it needs no revoking here: {refused}"
        ) from None
    if found.node_id != settings.node_id:
        raise ValueError(
            f"it is for {found.node_id}, and this is {settings.node_id}: revoke it there"
        )
    return found.token_id, found.ends


def _moment(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
