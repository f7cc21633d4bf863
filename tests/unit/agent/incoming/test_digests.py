"""Digests are read from every field that has one; none that was sent is passed over."""

from __future__ import annotations

import base64
import hashlib

import pytest

from agent.incoming.digests import CheckedBody, content_digest, repr_digest
from agent.problems import ProblemError
from tests.support.agent.pieces import Pieces

DATA = b"content"
SHA256 = hashlib.sha256(DATA).digest()
SHA512 = hashlib.sha512(DATA).digest()
SHA1 = hashlib.sha1(DATA, usedforsecurity=False).digest()
MD5 = hashlib.md5(DATA, usedforsecurity=False).digest()


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


class Headers(dict[str, str]):
    """A request's headers."""

    def header(self, name: str) -> str:
        return self.get(name, "")


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("Repr-Digest", f"sha-256=:{b64(SHA256)}:", {"sha-256": SHA256}),
        ("Repr-Digest", f"sha-512=:{b64(SHA512)}:", {"sha-512": SHA512}),
        (
            "Repr-Digest",
            f"crc32c=:AAAAAA==:,md5=:{b64(MD5)}:, sha-256=:{b64(SHA256)}:",
            {"md5": MD5, "sha-256": SHA256},
        ),
        ("Digest", f"SHA-256={b64(SHA256)}", {"sha-256": SHA256}),
        ("Digest", f"md5={b64(MD5)},SHA={b64(SHA1)}", {"md5": MD5, "sha": SHA1}),
        ("OC-Checksum", f"SHA1:{SHA1.hex()}", {"sha": SHA1}),
        ("X-Checksum-SHA256", SHA256.hex().upper(), {"sha-256": SHA256}),
        ("X-Amz-Checksum-SHA256", b64(SHA256), {"sha-256": SHA256}),
        ("Repr-Digest", "", {}),
    ],
)
def test_a_files_digest_is_read(field: str, value: str, found: dict[str, bytes]) -> None:
    assert repr_digest(Headers({field: value})) == found
    assert content_digest(Headers({field: value})) == {}


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("Content-Digest", f"sha-512=:{b64(SHA512)}:", {"sha-512": SHA512}),
        ("Content-MD5", b64(MD5), {"md5": MD5}),
        ("X-Amz-Content-SHA256", SHA256.hex(), {"sha-256": SHA256}),
        ("X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD", {}),
    ],
)
def test_a_contents_digest_is_read(field: str, value: str, found: dict[str, bytes]) -> None:
    assert content_digest(Headers({field: value})) == found
    assert repr_digest(Headers({field: value})) == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("Repr-Digest", "sha-256=abc"),
        ("Repr-Digest", "sha-256=:AAAA:"),
        ("Repr-Digest", "crc32c=:AAAAAA==:"),
        ("Repr-Digest", f"sha-256=:{b64(SHA256)}:x"),
        ("Repr-Digest", f"SHA-256=:{b64(SHA256)}:"),
        ("Repr-Digest", "sha-256=(1 2)"),
        ("Repr-Digest", "ü"),
        ("Digest", "sha-256=abc"),
        ("Digest", "adler32=03da0195"),
        ("Content-MD5", "x"),
        ("Content-MD5", b64(SHA1)),
        ("X-Checksum-SHA256", "z" * 64),
        ("X-Checksum", "crc32:00000000"),
        ("X-Goog-Hash", "crc32c=AAAAAA=="),
        ("X-Amz-Checksum-CRC32", "AAAAAA=="),
        ("X-Amz-Checksum-CRC64NVME", "AAAAAAAAAAA="),
    ],
)
def test_a_digest_that_cant_be_checked_is_refused(field: str, value: str) -> None:
    with pytest.raises(ProblemError) as refused:
        content_digest(Headers({field: value}))
        repr_digest(Headers({field: value}))
    assert refused.value.slug == "malformed-request"


def test_two_fields_that_say_different_things_cant_both_hold() -> None:
    said = Headers({"Digest": f"md5={b64(MD5)}", "X-Checksum-MD5": MD5.hex()})
    assert repr_digest(said) == {"md5": MD5}
    with pytest.raises(ProblemError) as refused:
        repr_digest(Headers({**said, "X-Checksum-MD5": "0" * 32}))
    assert refused.value.slug == "digest-mismatch"


@pytest.mark.parametrize("room", [1, 3, 7, 100])
def test_a_body_is_held_to_its_digests(room: int) -> None:
    def read(**announced: bytes) -> bytes:
        body = CheckedBody(Pieces(DATA), announced)
        buffer, data = bytearray(room), b""
        while count := body.fill(memoryview(buffer)):
            data += buffer[:count]
        return data

    assert read(md5=MD5, sha=SHA1) == DATA
    with pytest.raises(ProblemError) as refused:
        read(md5=MD5, sha=bytes(20))
    assert refused.value.slug == "digest-mismatch"
