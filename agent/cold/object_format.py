"""The cold tier's decisions without a network: parts, keys, what an object says of its file.

An object is the file's bytes; what its `attr.json` knows travels in the object's metadata, so that
a bucket alone is enough to bring a node's files back.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from agent.cold.said import Said
from agent.storage.attributes import Attributes
from portside.names import ATTRIBUTES_SUFFIX
from portside.quantities import MIB
from portside.wire.fields import AppId, FileId, Namespace, Owner, Sha256, TokenId
from portside.wire.files import StoredFile

LEAST_PART = 8 * MIB
"""Bytes. S3 wants 5 MiB at least, the last part excepted."""

MOST_PARTS = 10_000
LARGEST_OBJECT = 5 * 1024 * 1024 * MIB
"""S3's own bounds (Amazon S3 User Guide, "multipart upload limits")."""

MOST_METADATA = 2048
"""Bytes of names and values together that S3 takes."""

DELETED = ".deleted/"
"""Behind the prefix: one empty object per deleted file whose bytes are still kept.

No namespace begins with a dot, so no file's key is among them."""

_SHA256 = "portside-sha256"
_FILE_ID = "portside-file-id"
_ATTRIBUTES = "portside-attributes"

_MOST_ATTRIBUTES = 64 * 1024
"""Bytes that unpacked attributes may have: what is larger is nobody's."""


class TooLarge(Exception):
    """More than an object of S3 can hold."""


class NotOurs(Exception):
    """An object whose metadata say nothing of a file, or nothing that can be."""


@dataclass(frozen=True, slots=True)
class PartPlan:
    """A file cut into parts of `part_size` bytes, the last one what is left."""

    size: int
    part_size: int

    @classmethod
    def of(cls, size: int) -> PartPlan:
        """The smallest parts that are enough: whole MiB, 8 of them or more, 10,000 at most.

        Raises TooLarge.
        """
        if size > LARGEST_OBJECT:
            raise TooLarge(f"{size} bytes are more than the {LARGEST_OBJECT} of an S3 object")
        needed = -(-size // MOST_PARTS)
        return cls(size, max(LEAST_PART, -(-needed // MIB) * MIB))

    @property
    def count(self) -> int:
        """Parts, one at least."""
        return max(1, -(-self.size // self.part_size))

    def start(self, number: int) -> int:
        """Where the part of this number, from 1, begins."""
        return (number - 1) * self.part_size

    def length(self, number: int) -> int:
        """Its bytes."""
        return min(self.part_size, self.size - self.start(number))


def keys_of(prefix: str, path: PurePosixPath, file_id: str) -> tuple[str, str]:
    """Where a file's object may be: at its path, or behind that when another file's is there.

    The second is for a name that was deleted and given again while the old object is still kept.
    """
    return f"{prefix}{path}", f"{prefix}{path}.{file_id}"


def marker_key(prefix: str, file_id: str) -> str:
    """The object that says of a kept one that its file was deleted."""
    return f"{prefix}{DELETED}{file_id}"


class _Packed(BaseModel):
    """What metadata hold beside digest and id. Short names: all of it has to fit into 2 KiB."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    j: TokenId
    ns: Namespace
    o: Owner
    n: str = Field(min_length=1, max_length=1024)
    p: PurePosixPath
    s: int = Field(ge=0)
    t: str = Field(max_length=256)
    c: AwareDatetime
    r: str | None = None
    a: AppId | None = None


class ColdFile(BaseModel):
    """A backed-up file: what is the same on whichever node it is."""

    model_config = ConfigDict(frozen=True)

    file_id: FileId
    jti: TokenId
    namespace: str
    owner: str
    name: str
    path: PurePosixPath
    size: int
    sha256: Sha256
    content_type: str
    committed_at: AwareDatetime
    request_id: str | None
    app: AppId | None = None
    said: Said | None = None
    """What was said of it at its backup; None by a release that didn't tell."""

    @classmethod
    def of(cls, attributes: Attributes) -> ColdFile:
        """What is told of a stored file: all of its attributes but what is one node's own."""
        same = set(cls.model_fields) - {"said"}
        return cls(
            **{name: getattr(attributes, name) for name in same},
            said=Said.of(attributes),
        )

    def metadata(self) -> dict[str, str]:
        """The object's metadata: ASCII, under 2 KiB."""
        packed = _Packed(
            j=self.jti,
            ns=self.namespace,
            o=self.owner,
            n=self.name,
            p=self.path,
            s=self.size,
            t=self.content_type,
            c=self.committed_at,
            r=self.request_id,
            a=self.app,
        )
        text = packed.model_dump_json(exclude_none=True).encode()
        return {
            _SHA256: self.sha256,
            _FILE_ID: self.file_id,
            _ATTRIBUTES: base64.b64encode(zlib.compress(text, 9)).decode(),
            **({} if self.said is None else self.said.metadata()),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> ColdFile:
        """What an object's metadata say. Raises NotOurs; nothing in them is trusted unchecked."""
        try:
            compressed = base64.b64decode(metadata[_ATTRIBUTES], validate=True)
            text = zlib.decompressobj().decompress(compressed, _MOST_ATTRIBUTES)
            packed = _Packed.model_validate_json(text)
            _must_be_below(packed.ns, packed.p)
            return cls(
                file_id=metadata[_FILE_ID],
                jti=packed.j,
                namespace=packed.ns,
                owner=packed.o,
                name=packed.n,
                path=packed.p,
                size=packed.s,
                sha256=metadata[_SHA256],
                content_type=packed.t,
                committed_at=packed.c,
                request_id=packed.r,
                app=packed.a,
                said=Said.in_metadata(metadata),
            )
        except KeyError as error:
            raise NotOurs(f"its metadata have no {error}: Portside didn't put it there") from None
        except (binascii.Error, zlib.error, ValidationError, ValueError) as error:
            raise NotOurs(f"its metadata can't be read: {type(error).__name__}") from None


def _must_be_below(namespace: str, path: PurePosixPath) -> None:
    """Raise ValueError for a path that leads out of its namespace, or to a node's own files."""
    wrong = (
        path.parts[:1] != (namespace,)
        or len(path.parts) < 2
        or any(part.startswith(".") or "\0" in part for part in path.parts)
        or path.name.lower().endswith(ATTRIBUTES_SUFFIX)
    )
    if wrong:
        raise ValueError("the path is not one of its namespace")


def says(metadata: Mapping[str, str], size: int, stored: StoredFile) -> bool:
    """Whether an object of this size with these metadata is this very file."""
    return (metadata.get(_FILE_ID), metadata.get(_SHA256), size) == (
        stored.file_id,
        stored.sha256,
        stored.size,
    )


def is_of(metadata: Mapping[str, str], file_id: str) -> bool:
    """Whether an object with these metadata was made from this file."""
    return metadata.get(_FILE_ID) == file_id
