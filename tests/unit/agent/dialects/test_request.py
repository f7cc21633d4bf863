"""Headers of both dialects are read exactly, and what is malformed is named."""

from __future__ import annotations

from typing import Any

import pytest

from agent.dialects.checksum import Checksum
from agent.dialects.request import TUS_TYPE, ResumableRequest, resumable_request
from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError

ID = "0123456789abcdef0123456789abcdef"


def _asked(method: str = "POST", uri: str = "/api/v1/uploads", **headers: str) -> ResumableRequest:
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "RAW_URI": uri}
    for name, value in headers.items():
        plain = name.upper()
        environ[plain if plain.startswith("CONTENT_L") else f"HTTP_{plain}"] = value
    if "HTTP_CONTENT_TYPE" in environ:
        environ["CONTENT_TYPE"] = environ.pop("HTTP_CONTENT_TYPE")
    return resumable_request(RequestHead.of_request(environ))


def _refused(**headers: str) -> str:
    with pytest.raises(ProblemError) as refused:
        _asked(**headers)
    return refused.value.slug


def test_a_creation_in_tus() -> None:
    asked = _asked(tus_resumable="1.0.0", upload_length="7", upload_metadata="filename YS5iaW4=")
    assert (asked.dialect, asked.length, asked.name, asked.body_length) == ("tus", 7, "a.bin", 0)


def test_a_creation_in_the_ietf_draft() -> None:
    asked = _asked(
        upload_complete="?0",
        upload_length="7",
        content_length="3",
        upload_draft_interop_version="6",
        content_disposition="inline; filename=\"x\"; filename*=UTF-8''%E2%82%AC.bin",
    )
    assert (asked.dialect, asked.version.number, asked.complete) == ("ietf", "6", False)
    assert (asked.length, asked.body_length, asked.name) == (7, 3, "\u20ac.bin")


def test_an_append_names_its_upload() -> None:
    asked = _asked(
        "PATCH",
        f"/api/v1/uploads/{ID}?x=1",
        content_type="application/partial-upload; charset=x",
        upload_offset="5",
    )
    assert (asked.upload_id, asked.dialect, asked.offset) == (ID, "ietf", 5)


@pytest.mark.parametrize(
    "path", ["", "/", "/../" + ID, "/" + ID[:-1], "/" + ID.upper(), f"/{ID}/x"]
)
def test_what_is_no_id_names_no_upload(path: str) -> None:
    assert _asked("HEAD", f"/api/v1/uploads{path}").upload_id is None


@pytest.mark.parametrize("version", ["0.2.2", "2.0.0", "1.0.0, 0.2.2"])
def test_another_version_of_tus_is_refused(version: str) -> None:
    assert _refused(tus_resumable=version) == "protocol-version"


def test_tus_bytes_without_a_version_are_refused() -> None:
    assert _refused(content_type="application/offset+octet-stream") == "protocol-version"


@pytest.mark.parametrize("number", ["-1", "1.0", "0x10", "1e3", "٣", "1 2", str(2**63), "9" * 40])
@pytest.mark.parametrize("header", ["upload_length", "upload_offset", "content_length"])
def test_what_is_no_number_of_bytes_is_refused(header: str, number: str) -> None:
    assert _refused(**{header: number, "tus_resumable": "1.0.0"}) == "malformed-request"


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("upload_defer_length", "2"),
        ("upload_concat", "partially"),
        ("upload_checksum", "sha1 no-base64!"),
        ("repr_digest", "sha-256=:short:"),
    ],
)
def test_a_malformed_header_is_refused(header: str, value: str) -> None:
    assert _refused(**{header: value}) == "malformed-request"


def test_an_unknown_checksum_is_named() -> None:
    assert _refused(upload_checksum="md5 AAAA") == "checksum-unsupported"


@pytest.mark.parametrize("trailer", ["Upload-Checksum", "Expires, upload-checksum"])
def test_a_checksum_behind_the_body_is_not_passed_over(trailer: str) -> None:
    assert _refused(tus_resumable="1.0.0", trailer=trailer) == "checksum-unsupported"


@pytest.mark.parametrize(
    "value",
    [
        "sha1 //////////////////////////8=",
        "SHA1 //////////////////////////8",
        "sha1  __________________________8",
    ],
)
def test_a_checksum_is_the_same_however_it_is_written(value: str) -> None:
    asked = _asked(tus_resumable="1.0.0", upload_checksum=value)
    assert asked.checksums == (Checksum("sha1", b"\xff" * 20),)


@pytest.mark.parametrize("kind", ["final", "Final", "FINAL "])
def test_a_final_upload_names_its_parts(kind: str) -> None:
    asked = _asked(tus_resumable="1.0.0", upload_concat=f"{kind};/api/v1/uploads/{ID}")
    assert (asked.concat, asked.parts) == (f"final;/api/v1/uploads/{ID}", (ID,))


@pytest.mark.parametrize("value", ["partial", "Partial", " PARTIAL"])
def test_a_part_is_one_however_it_is_written(value: str) -> None:
    assert _asked(tus_resumable="1.0.0", upload_concat=value).concat == "partial"


def test_a_post_may_stand_for_an_append() -> None:
    asked = _asked(
        "POST",
        f"/api/v1/uploads/{ID}/",
        tus_resumable="1.0.0",
        x_http_method_override="PATCH",
        content_type="application/offset+octet-stream",
        transfer_encoding="chunked",
        upload_offset="0",
    )
    assert (asked.method, asked.upload_id, asked.body_length) == ("PATCH", ID, None)


def test_a_version_that_was_set_twice_is_one() -> None:
    assert _asked(tus_resumable="1.0.0, 1.0.0").dialect == "tus"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/offset+octet-stream, application/offset+octet-stream",
        "application/offset+octet-stream; charset=utf-8",
        "Application/Offset+Octet-Stream",
        "application/offset+octet-stream ;charset=UTF-8",
    ],
)
def test_a_media_type_is_known_by_its_name_alone(content_type: str) -> None:
    asked = _asked("PATCH", tus_resumable="1.0.0", content_type=content_type)
    assert asked.content_type == "application/offset+octet-stream"


def test_the_refused_hear_which_versions_are_spoken() -> None:
    for headers in ({"tus_resumable": "0.2.2"}, {"content_type": TUS_TYPE}):
        with pytest.raises(ProblemError) as refused:
            _asked(**headers)
        assert refused.value.headers["Tus-Version"] == "1.0.0"


@pytest.mark.parametrize(
    "path", ["//[/../api/v1/uploads", "//api/v1/uploads", "///api//v1/uploads/"]
)
def test_a_path_with_two_slashes_at_its_beginning_names_no_host(path: str) -> None:
    assert _asked(uri=path, tus_resumable="1.0.0").upload_id is None


def test_the_preflight_sees_what_the_request_says() -> None:
    asked = resumable_request(
        RequestHead.of_question(
            {
                "REQUEST_METHOD": "GET",
                "RAW_URI": "/internal/preflight",
                "HTTP_X_ORIGINAL_METHOD": "PATCH",
                "HTTP_X_ORIGINAL_URI": f"/api/v1/uploads/{ID}",
                "HTTP_X_ORIGINAL_CONTENT_LENGTH": "9",
                "HTTP_X_ORIGINAL_CONTENT_TYPE": "application/offset+octet-stream",
                "HTTP_TUS_RESUMABLE": "1.0.0",
                "HTTP_UPLOAD_OFFSET": "4",
            }
        )
    )
    assert (asked.method, asked.upload_id, asked.body_length, asked.offset) == ("PATCH", ID, 9, 4)


@pytest.mark.parametrize("kind", ["form-data", "byteranges", "mixed"])
def test_an_envelope_is_no_file(kind: str) -> None:
    sent = {"content_type": f"multipart/{kind}; boundary=b", "content_length": "9"}
    assert _refused(upload_complete="?1", **sent) == "media-type"
    assert _refused(upload_complete="?1", transfer_encoding="chunked", **sent) == "media-type"


def test_a_place_is_told_in_one_way() -> None:
    append = {"upload_offset": "0", "content_type": TUS_TYPE, "content_range": "bytes 5-9/10"}
    assert _refused(tus_resumable="1.0.0", **append) == "malformed-request"


def test_a_digest_of_the_whole_file_is_read_from_any_header() -> None:
    hexadecimal = "ab" * 32
    for header in ("digest", "oc_checksum", "x_checksum"):
        value = f"SHA-256{'=' if header == 'digest' else ':'}{hexadecimal}"
        assert _asked(upload_complete="?0", **{header: value}).sha256 == hexadecimal
    assert _asked(upload_complete="?0", x_checksum_sha256=hexadecimal).sha256 == hexadecimal
    assert _asked(upload_complete="?0").sha256 is None


@pytest.mark.parametrize(
    ("method", "header", "value"),
    [
        # Nothing but SHA-256 is computed of what goes on over days.
        ("POST", "x_checksum_sha1", "ab" * 20),
        ("POST", "repr_digest", "md5=:eB5eJF1ptWaXm4bijSPyxw==:"),
        ("POST", "oc_checksum", "Adler32:03da0195"),
        # Of these bytes, or of the whole file?
        ("PATCH", "x_checksum_sha256", "ab" * 32),
        ("PATCH", "digest", f"sha-256={'ab' * 32}"),
    ],
)
def test_a_digest_that_would_be_passed_over_is_refused(
    method: str, header: str, value: str
) -> None:
    with pytest.raises(ProblemError) as refused:
        _asked(method, upload_complete="?0", upload_offset="0", **{header: value})
    assert refused.value.slug == "malformed-request"
