"""The cold tier's pure decisions: parts, keys, metadata, meanings of errors, settings."""

from __future__ import annotations

import base64
import secrets
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.cold import meanings
from agent.cold.credentials import Credentials, CredentialsError
from agent.cold.meanings import meaning
from agent.cold.object_format import (
    LARGEST_OBJECT,
    LEAST_PART,
    MOST_METADATA,
    MOST_PARTS,
    ColdFile,
    NotOurs,
    PartPlan,
    TooLarge,
    keys_of,
)
from agent.settings import Cold
from portside.names import dated_path
from portside.quantities import GIB, MIB

SHA256 = "ab" * 32


@given(st.integers(0, LARGEST_OBJECT))
def test_parts_cover_a_file_exactly_within_the_bounds_of_s3(size: int) -> None:
    plan = PartPlan.of(size)
    assert LEAST_PART <= plan.part_size <= 5 * GIB
    assert plan.part_size % MIB == 0
    assert 1 <= plan.count <= MOST_PARTS
    assert plan.start(1) == 0
    assert plan.start(plan.count) + plan.length(plan.count) == size
    assert all(plan.length(n) == plan.part_size for n in (1, plan.count - 1) if 0 < n < plan.count)
    assert plan.length(plan.count) > 0 or size == 0


@pytest.mark.parametrize(
    ("size", "part_size", "count"),
    [
        (0, 8 * MIB, 1),
        (8 * MIB, 8 * MIB, 1),
        (8 * MIB + 1, 8 * MIB, 2),
        (80_000 * MIB, 8 * MIB, 10_000),
        (80_000 * MIB + 1, 9 * MIB, 8889),
    ],
)
def test_parts_grow_with_the_file(size: int, part_size: int, count: int) -> None:
    plan = PartPlan.of(size)
    assert (plan.part_size, plan.count) == (part_size, count)


def test_what_no_object_can_hold_is_said() -> None:
    with pytest.raises(TooLarge, match="are more than"):
        PartPlan.of(LARGEST_OBJECT + 1)


def test_a_key_is_the_path_and_no_nodes_own() -> None:
    assert keys_of("backup/", PurePosixPath("isos/a.iso"), "0" * 32) == (
        "backup/isos/a.iso",
        f"backup/isos/a.iso.{'0' * 32}",
    )


def cold_file(**changed: Any) -> ColdFile:
    fields: dict[str, Any] = {
        "file_id": "1" * 32,
        "jti": "token-0001",
        "namespace": "isos",
        "owner": "user-7",
        "name": "Größe.iso",
        "path": PurePosixPath("isos/Größe.iso"),
        "size": 7,
        "sha256": SHA256,
        "content_type": "application/x-iso9660-image",
        "committed_at": datetime(2026, 11, 21, 14, 0, 0, 123456, UTC),
        "request_id": "2" * 32,
    }
    return ColdFile(**{**fields, **changed})


def test_metadata_say_everything_of_a_file() -> None:
    file = cold_file()
    metadata = file.metadata()
    assert metadata["portside-sha256"] == SHA256
    assert all(value.isascii() and value.isprintable() for value in metadata.values())
    assert ColdFile.from_metadata(metadata) == file


def test_the_longest_attributes_fit_into_metadata() -> None:
    """Letters of four bytes, no two alike, so that nothing can be packed."""
    owner = "".join(chr(0x20000 + secrets.randbelow(0xA000)) for _ in range(128))
    name = "".join(chr(0x20000 + secrets.randbelow(0xA000)) for _ in range(58)) + ".bin"
    file_id, namespace = secrets.token_hex(16), secrets.token_hex(32)
    file = cold_file(
        file_id=file_id,
        jti=secrets.token_urlsafe(96),
        namespace=namespace,
        owner=owner,
        name=name,
        path=dated_path(namespace, name, owner, file_id, datetime.now(UTC)),
        content_type=f"{secrets.token_hex(31)}/{secrets.token_hex(31)}",
        request_id=secrets.token_hex(16),
        size=LARGEST_OBJECT,
    )
    metadata = file.metadata()
    assert sum(len(key) + len(value) for key, value in metadata.items()) <= MOST_METADATA
    assert ColdFile.from_metadata(metadata) == file


@pytest.mark.parametrize(
    "path",
    [
        "../etc/passwd",
        "/etc/passwd",
        "isos/../../a",
        "images/a.iso",
        "isos",
        "isos/a.attr.json",
        "isos/\0",
    ],
)
def test_metadata_lead_nowhere_but_into_their_namespace(path: str) -> None:
    metadata = cold_file(path=PurePosixPath(path)).metadata()
    with pytest.raises(NotOurs, match="can't be read"):
        ColdFile.from_metadata(metadata)


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "no base64 at all!",
        base64.b64encode(b"not compressed").decode(),
        base64.b64encode(zlib.compress(b"no json")).decode(),
        base64.b64encode(zlib.compress(b"{}")).decode(),
        base64.b64encode(zlib.compress(b"[" * 10_000_000)).decode(),
    ],
)
def test_strange_metadata_are_nobodys(attributes: str) -> None:
    metadata = {**cold_file().metadata(), "portside-attributes": attributes}
    with pytest.raises(NotOurs):
        ColdFile.from_metadata(metadata)
    with pytest.raises(NotOurs, match="Portside didn't put it there"):
        ColdFile.from_metadata({})


@pytest.mark.parametrize(
    ("code", "status", "kind", "words"),
    [
        ("SlowDown", 503, meanings.StoreUnavailable, "trying again later"),
        ("InternalError", 500, meanings.StoreUnavailable, "trying again later"),
        ("RequestTimeTooSkewed", 403, meanings.StoreUnavailable, "timedatectl"),
        ("SignatureDoesNotMatch", 403, meanings.StoreUnavailable, "credentials_file is wrong"),
        ("403", 403, meanings.StoreUnavailable, "credentials_file is wrong"),
        ("NoSuchBucket", 404, meanings.StoreUnavailable, "make it, or correct cold.bucket"),
        ("NoSuchUpload", 404, meanings.UploadGone, "is gone"),
        ("PreconditionFailed", 412, meanings.AlreadyThere, "has an object"),
        ("ConditionalRequestConflict", 409, meanings.AlreadyThere, "has an object"),
        ("BadDigest", 400, meanings.StoreRefused, "BadDigest"),
        ("RequestTimeout", 400, meanings.StoreUnavailable, "was cut"),
    ],
)
def test_an_error_says_what_it_means(
    code: str, status: int, kind: type[Exception], words: str
) -> None:
    error = meaning(code, status, "", "https://s3.example.net/bucket/")
    assert type(error) is kind
    assert words in str(error)


def cold(**changed: Any) -> Cold:
    return Cold.model_validate(
        {"bucket": "files", "credentials_file": "/c", "rate": 1, "prefix": "a/", **changed}
    )


def test_addresses_and_keys_belong_together() -> None:
    tier = cold(endpoint="https://s3.example.net:9000")
    assert tier.target == "https://s3.example.net:9000/files/a/"
    assert tier.address("a/isos/x") == "https://s3.example.net:9000/files/a/isos/x"
    assert tier.key(tier.address("a/isos/x")) == "a/isos/x"
    assert cold(bucket="other").key(tier.address("a/isos/x")) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"prefix": "/a/"},
        {"prefix": "a"},
        {"prefix": "a/../b/"},
        {"bucket": "Not A Bucket"},
        {"endpoint": "s3.example.net"},
        {"endpoint": "https://user:password@s3.example.net"},
        {"rate": 0},
        {"secret": "x"},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        cold(**wrong)


def test_credentials_are_read_from_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("[default]\naws_access_key_id = AK\naws_secret_access_key = se%cret/+=\n")
    path.chmod(0o600)
    found = Credentials.read(path)
    assert (found.access_key, found.secret_key) == ("AK", "se%cret/+=")
    assert "se%cret" not in repr(found)
    path.chmod(0o640)
    with pytest.raises(CredentialsError, match="chmod 600"):
        Credentials.read(path)
    with pytest.raises(CredentialsError, match="can't be read"):
        Credentials.read(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["", "secret", "[default]\naws_access_key_id = AK\n", "[other]\n"])
def test_credentials_that_cant_be_used_are_not_quoted(text: str) -> None:
    with pytest.raises(CredentialsError, match=r"^c needs a section \[default\]") as raised:
        Credentials.parse(text, "c")
    assert "secret\n" not in str(raised.value)
