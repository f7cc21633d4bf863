"""What the control plane is told of a node's files: all that their attributes say, in bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import structlog
from pydantic import ValidationError

from portside.wire.files import StoredFile
from portside.wire.inventory import HeldFile

_log = structlog.get_logger()

MOST_BYTES = 512 * 1024
"""Of what is told in one request. The control plane takes twice that."""


def described(rows: Iterable[tuple[str, str, str]]) -> Iterator[HeldFile]:
    """Files of the index, by id, token id and attributes; without those that can't be told."""
    for file_id, jti, text in rows:
        try:
            stored = StoredFile.model_validate_json(text)
            yield HeldFile.model_validate(
                {**stored.model_dump(include=set(HeldFile.model_fields)), "jti": jti}
            )
        except ValidationError as error:
            # Attributes that a person wrote: told of, they would be refused with all others.
            first = error.errors(include_input=False)[0]
            _log.error(
                "file can't be told of",
                file_id=file_id,
                attribute=".".join(map(str, first["loc"])),
                error=first["msg"],
            )


def in_bounds(files: Iterator[HeldFile]) -> Iterator[tuple[HeldFile, ...]]:
    """As many at a time as one request may carry."""
    batch: list[HeldFile] = []
    size = 0
    for each in files:
        length = len(each.model_dump_json().encode())
        if batch and size + length > MOST_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(each)
        size += length
    if batch:
        yield tuple(batch)
