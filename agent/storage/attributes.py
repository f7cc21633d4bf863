"""`<file>.attr.json`: all that is known of a file, beside it, so that the index can be rebuilt."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from agent.host import filesystem
from agent.index.files import Intent
from agent.settings import Settings
from agent.storage.permissions import ATTRIBUTES_MODE
from agent.storage.staging import ATTRIBUTES_SUFFIX as TEMPORARY_SUFFIX
from portside import durable_file
from portside.journal import REQUEST_ID
from portside.names import ATTRIBUTES_SUFFIX
from portside.wire.fields import TokenId
from portside.wire.files import StoredFile

LONGEST_TOKEN = 2048
"""Characters of the token that a file came with, if it is to be kept: a longer one stays with its
pushes alone. nginx reads 8 KiB of attributes."""


class Attributes(StoredFile):
    """A stored file and the id of the token it was uploaded with. At most 4 KiB as JSON,
    without `upload_token`.

    With `deleted_at` they are what is left of a deleted file: its token stays used. `request_id` is
    the upload's in the logs of nginx and agent, so that the worker's lines can be found with it.
    `replicas` are the nodes that this one was to copy the file to: an index that is rebuilt orders
    it again.
    """

    jti: TokenId
    replicas: tuple[str, ...] = ()
    upload_token: str | None = None
    """What the file came with: the token that it was uploaded with, which is used, or of a copy
    what proved that it was wanted here (`portside.orders.copies`). It proves the same to a control
    plane that has forgotten the file."""
    request_id: str | None = None
    deleted_at: datetime | None = None
    deletion_order: str | None = None
    """Of a deleted file: the token that asked for it, for whoever is told of the deletion. It is
    worth nothing elsewhere: it names this node."""

    @classmethod
    def of(cls, intent: Intent) -> Attributes:
        """The attributes of a file that is about to be committed."""
        token = intent.upload_token
        return cls(
            **dict(intent.stored),
            jti=intent.jti,
            request_id=intent.request_id,
            replicas=intent.replicas,
            upload_token=token if token is not None and len(token) <= LONGEST_TOKEN else None,
        )

    def stored(self) -> StoredFile:
        """The stored file alone."""
        return StoredFile(**{name: getattr(self, name) for name in StoredFile.model_fields})


def as_told_last(place: Path, stored: StoredFile, jti: str) -> Attributes:
    """The attributes at `place`, of a file whose row says `stored`; where they are no use, the
    row's own.

    Whether it is held the row alone says: it is changed first (`agent.storage.holds`).
    """
    try:
        found = Attributes.model_validate_json(place.read_bytes())
        if found.file_id == stored.file_id:
            return found.model_copy(update={"held": stored.held, "hold": stored.hold})
    except (OSError, ValueError):
        pass
    return Attributes(**dict(stored), jti=jti)


def write(settings: Settings, place: Path, attributes: Attributes) -> None:
    """Have these attributes at `place`, durably, instead of what is there. Raises OSError.

    By way of staging: what a crash leaves there is swept.
    """
    name = f"{attributes.file_id}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    temporary = settings.staging / name
    content = attributes.model_dump_json().encode() + b"\n"
    try:
        durable_file.write(temporary, content, ATTRIBUTES_MODE, new=True)
        temporary.rename(place)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    filesystem.of(settings.root).sync_directory(place.parent)


@contextmanager
def lines_of_its_upload(data: Path) -> Iterator[None]:
    """Log lines in the block carry the id of the request that uploaded the file at `data`.

    Without attributes that can be read they carry none: a line is written all the same.
    """
    try:
        text = data.with_name(data.name + ATTRIBUTES_SUFFIX).read_bytes()
        request_id = Attributes.model_validate_json(text).request_id
    except (OSError, ValidationError):
        request_id = None
    with bound_contextvars(**({REQUEST_ID: request_id} if request_id else {})):
        yield
