"""The bucket: one object or part at a time, every error with its meaning (`agent.cold.meanings`).

boto3 is imported with the first use: it takes some 30 MiB, and most nodes have no cold tier. It
tries twice at most and waits for seconds, not minutes: the queue does the waiting.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from agent.cold.credentials import Credentials, CredentialsError
from agent.cold.meanings import Missing, NotSpoken, StoreUnavailable, UploadGone, meaning
from agent.settings import Cold

_CONNECT_SECONDS = 10
_READ_SECONDS = 40
"""For the next bytes of an answer. Two attempts stay under the worker's watch of 120 s."""

_SYSTEM_CAS = "/etc/ssl/certs/ca-certificates.crt"


class Body(Protocol):
    """Bytes to send: read from the start once or more often; `sending` is set before they go."""

    sending: bool

    def read(self, size: int = -1) -> bytes: ...
    def seek(self, offset: int, whence: int = 0) -> int: ...
    def tell(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Found:
    """An object as HEAD shows it."""

    size: int
    etag: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    size: int


@dataclass(frozen=True, slots=True)
class SentPart:
    """A part that is stored: its ETag, and its SHA-256 in base64."""

    etag: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PartSeen:
    """A part as the service lists it."""

    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Digests:
    """What a body's bytes must give: the service compares before it stores them."""

    md5: bytes
    sha256: bytes

    def headers(self) -> dict[str, str]:
        """As parameters of a request."""
        return {"ContentMD5": _text(self.md5), "ChecksumSHA256": _text(self.sha256)}


class ColdStore:
    """One bucket. Thread-safe. Every method raises a ColdError."""

    def __init__(self, cold: Cold) -> None:
        self._bucket = cold.bucket
        self._target = cold.target
        try:
            credentials = Credentials.read(cold.credentials_file)
        except CredentialsError as error:
            raise StoreUnavailable(str(error)) from None
        self._client = _client(cold, credentials)
        self._errors = _errors()
        self._conditional = True

    def check(self) -> None:
        """Whether the bucket is there and may be read."""
        with self._meanings():
            self._client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)

    def head(self, key: str) -> Found | None:
        """What is at `key`; None if nothing is."""
        try:
            with self._meanings():
                answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except Missing:
            return None
        return Found(answer["ContentLength"], answer["ETag"], answer.get("Metadata", {}))

    def put(
        self,
        key: str,
        body: Body,
        digests: Digests,
        metadata: Mapping[str, str],
        content_type: str,
    ) -> None:
        """One object, whole."""
        self._unless_there(
            lambda condition: self._client.put_object(
                Bucket=self._bucket,
                Key=key,
                Body=body,
                Metadata=dict(metadata),
                ContentType=content_type,
                **digests.headers(),
                **condition,
            )
        )

    def put_marker(self, key: str, text: bytes) -> None:
        """A small object of our own, in place of an older one."""
        with self._meanings():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=text)

    def marker(self, key: str, most: int) -> bytes | None:
        """The content of a small object of our own, at most so many bytes of it; None if there is
        none.
        """
        try:
            with self._meanings():
                answer = self._client.get_object(Bucket=self._bucket, Key=key)
                with answer["Body"] as stream:
                    return bytes(stream.read(most))
        except Missing:
            return None

    def begin(self, key: str, metadata: Mapping[str, str], content_type: str) -> str:
        """Begin a multipart upload; returns its id."""
        with self._meanings():
            answer = self._client.create_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                Metadata=dict(metadata),
                ContentType=content_type,
                ChecksumAlgorithm="SHA256",
            )
        return str(answer["UploadId"])

    def put_part(
        self, key: str, upload_id: str, number: int, body: Body, digests: Digests
    ) -> SentPart:
        """One part of a multipart upload."""
        with self._meanings():
            answer = self._client.upload_part(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                **digests.headers(),
            )
        return SentPart(answer["ETag"], _text(digests.sha256))

    def parts(self, key: str, upload_id: str) -> dict[int, PartSeen]:
        """The parts that are stored, by number."""
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=self._bucket, Key=key, UploadId=upload_id
        )
        return {
            part["PartNumber"]: PartSeen(part["Size"], part["ETag"], part["LastModified"])
            for page in self._pages(pages)
            for part in page.get("Parts", ())
        }

    def complete(self, key: str, upload_id: str, parts: Sequence[SentPart]) -> None:
        """Make one object of the parts, in their order."""
        listed = [
            {"PartNumber": number, "ETag": part.etag, "ChecksumSHA256": part.sha256}
            for number, part in enumerate(parts, 1)
        ]
        self._unless_there(
            lambda condition: self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},
                **condition,
            )
        )

    def abort(self, key: str, upload_id: str) -> None:
        """End a multipart upload and give its space back; one that is gone is fine."""
        try:
            with self._meanings():
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=key, UploadId=upload_id
                )
        except UploadGone:
            pass

    def uploads(self, key: str) -> list[tuple[str, datetime]]:
        """Multipart uploads of this very key that are under way, and since when."""
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=key
        )
        return [
            (each["UploadId"], each["Initiated"])
            for page in self._pages(pages)
            for each in page.get("Uploads", ())
            if each["Key"] == key
        ]

    def listing(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with `prefix`, in order."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=prefix
        )
        for page in self._pages(pages):
            for each in page.get("Contents", ()):
                yield Listed(each["Key"], each["Size"])

    def delete(self, key: str) -> None:
        """Remove an object; one that is gone is fine."""
        with self._meanings():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    @contextmanager
    def reading(self, key: str, etag: str, start: int) -> Iterator[BinaryIO]:
        """The bytes of this very object from `start` on, as they come."""
        wanted = {"Range": f"bytes={start}-"} if start else {}
        with self._meanings():
            answer = self._client.get_object(Bucket=self._bucket, Key=key, IfMatch=etag, **wanted)
            with answer["Body"] as stream:
                yield stream

    def _pages(self, pages: Any) -> Iterator[Any]:
        following = iter(pages)
        while True:
            with self._meanings():
                page = next(following, None)
            if page is None:
                return
            yield page

    def _unless_there(self, write: Callable[[dict[str, str]], object]) -> None:
        """Write where nothing is (RFC 9110, section 13.1.2). A service that doesn't know the
        condition says 501, and is left with the HEAD that came before.
        """
        if self._conditional:
            try:
                with self._meanings():
                    write({"IfNoneMatch": "*"})
                return
            except NotSpoken:
                self._conditional = False
        with self._meanings():
            write({})

    @contextmanager
    def _meanings(self) -> Iterator[None]:
        try:
            yield
        except self._errors.client as error:
            told = error.response.get("Error", {})
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise meaning(
                str(told.get("Code", "")), int(status), str(told.get("Message", "")), self._target
            ) from None
        except self._errors.other as error:
            raise StoreUnavailable(f"{self._target}: {error}") from None


@dataclass(frozen=True, slots=True)
class _Errors:
    client: type[Any]
    other: tuple[type[Exception], ...]


def _errors() -> _Errors:
    from botocore.exceptions import BotoCoreError, ClientError
    from urllib3.exceptions import HTTPError

    # A body that is cut while it is read comes as urllib3's or the socket's own.
    return _Errors(ClientError, (BotoCoreError, HTTPError, ConnectionError, TimeoutError))


def _client(cold: Cold, credentials: Credentials) -> Any:
    import boto3
    from botocore.config import Config

    session = boto3.session.Session(
        aws_access_key_id=credentials.access_key,
        aws_secret_access_key=credentials.secret_key,
        region_name=cold.region,
    )
    client = session.client(
        "s3",
        endpoint_url=cold.endpoint,
        verify=_authorities(),
        config=Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 2},
            tcp_keepalive=True,
            # Services that aren't Amazon's seldom have a name per bucket.
            s3={"addressing_style": "path" if cold.endpoint else "auto"},
            # Every body has its SHA-256 already: no other checksum beside it.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register("before-send.s3", _now_it_goes)
    return client


def _now_it_goes(request: Any, **rest: object) -> None:
    """Before this, a body is read to be signed; from now on it is sent."""
    if hasattr(request.body, "sending"):
        request.body.sending = True


def _authorities() -> str | bool:
    """The system's certificate authorities: botocore would trust a list of its own."""
    found = ssl.get_default_verify_paths().cafile
    if found is None and Path(_SYSTEM_CAS).exists():
        found = _SYSTEM_CAS
    return found or True


def _text(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
