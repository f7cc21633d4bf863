"""What a request's head says of its file: the whole of it, or less."""

from __future__ import annotations

import pytest

from agent.incoming.request_head import RequestHead
from agent.incoming.whole_file import Field, check_is_plain, said_in_fields, said_in_head
from agent.problems import ProblemError


def _head(query: str = "", **headers: str) -> RequestHead:
    environ = {"REQUEST_METHOD": "PUT", "RAW_URI": f"/api/internal/upload/a.iso{query}"}
    fields = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return RequestHead.of_request(environ | fields)


@pytest.mark.parametrize(
    "headers",
    [
        {"upload_complete": "?0"},
        {"upload_complete": "?0;x"},
        {"upload_incomplete": "?1"},
        {"upload_incomplete": "?1", "upload_draft_interop_version": "3"},
    ],
)
def test_the_beginning_of_a_resumable_upload_is_no_whole_file(headers: dict[str, str]) -> None:
    with pytest.raises(ProblemError) as refused:
        said_in_head(_head(**headers))
    assert (refused.value.status, refused.value.slug) == (400, "partial-file")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload_complete": "?1"},
        {"upload_complete": "no boolean"},
        {"upload_incomplete": "?0", "upload_draft_interop_version": "3"},
    ],
)
def test_a_whole_file_may_say_that_it_is_one(headers: dict[str, str]) -> None:
    assert said_in_head(_head(**headers)).size is None


@pytest.mark.parametrize(
    "fields",
    [
        [("chunk", "0"), ("chunks", "3")],
        [("resumableChunkNumber", "1"), ("resumableTotalChunks", "2")],
        [("flowChunkNumber", "1")],
        [("dzchunkbyteoffset", "10"), ("dztotalchunkcount", "1")],
        [("_chunkNumber", "0"), ("_chunkSize", "10")],
        [("currentChunkIndex", "1")],
        [("current_chunk", "1"), ("numChunks", "2")],
        [("chunk_id", "1")],
        [("chunkStart", "10"), ("chunkEnd", "20")],
        [("isLastChunk", "false")],
        [("last_chunk", "0")],
        [("blob_num", "1"), ("total_blob_num", "3")],
        [("segmentIndex", "0"), ("segmentCount", "2")],
        [("startByte", "5")],
        [("Content-Range", "bytes 0-9/30")],
        [("metadata", '{"chunkIndex":0,"totalChunks":3}')],
    ],
)
def test_a_form_of_a_part_says_so_in_its_widgets_words(fields: list[Field]) -> None:
    with pytest.raises(ProblemError) as refused:
        said_in_fields(fields)
    assert refused.value.slug == "partial-file"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ([("chunk", "0"), ("chunks", "1"), ("chunk_size", "1000")], None),
        ([("resumableChunkNumber", "1"), ("resumableTotalChunks", "1")], None),
        ([("dzchunkindex", "0"), ("dztotalchunkcount", "1"), ("dzchunkbyteoffset", "0")], None),
        ([("isLastChunk", "true"), ("chunkRetries", "3"), ("maxChunkSize", "9")], None),
        ([("chunk_type", "audio"), ("part", "4711"), ("offset", "-120")], None),
        ([("Content-Range", "bytes 0-9/10"), ("totalBytes", "10")], 10),
    ],
)
def test_a_form_of_a_whole_file_may_have_fields_of_its_own(
    fields: list[Field], size: int | None
) -> None:
    assert said_in_fields(fields).size == size


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({"x_chunk": "1"}, "partial-file"),
        ({"chunk_index": "1"}, "partial-file"),
        ({"x_resumable_chunk_number": "1"}, "partial-file"),
        ({"x_last_chunk": "false"}, "partial-file"),
        ({"x_total_parts": "3"}, "partial-file"),
        ({"x_bz_part_number": "1"}, "partial-file"),
        ({"x_file_offset": "10"}, "partial-file"),
        ({"x_offset": "10"}, "partial-file"),
        ({"x_update_range": "bytes=0-9"}, "partial-file"),
        ({"x_goog_upload_command": "upload", "x_goog_upload_offset": "0"}, "partial-file"),
        ({"x_ms_blob_type": "PageBlob"}, "partial-file"),
        ({"x_amz_copy_source": "/bucket/key"}, "malformed-request"),
        ({"x_copy_from": "/container/object"}, "malformed-request"),
        ({"x_object_manifest": "container/prefix"}, "malformed-request"),
    ],
)
def test_a_head_says_in_its_senders_words_that_the_body_is_no_whole_file(
    headers: dict[str, str], slug: str
) -> None:
    with pytest.raises(ProblemError) as refused:
        said_in_head(_head(**headers))
    assert refused.value.slug == slug


@pytest.mark.parametrize(
    "query",
    ["uploadId=x", "upload_id=x", "comp=block&blockid=AAA=", "append&position=9", "op=append"],
)
def test_what_object_stores_do_with_parts_is_known_by_its_query(query: str) -> None:
    with pytest.raises(ProblemError) as refused:
        said_in_head(_head(f"?{query}"))
    assert refused.value.slug == "partial-file"


def test_what_is_said_of_the_file_is_found_in_any_header() -> None:
    sha256, md5 = bytes(32), bytes(16)
    for name in ("x_sha256", "x_file_sha256", "x_content_sha256"):
        assert said_in_head(_head(**{name: sha256.hex()})).digests == {"sha-256": sha256}
    for name in ("x_md5", "x_content_md5", "x_ms_blob_content_md5"):
        assert said_in_head(_head(**{name: md5.hex()})).digests == {"md5": md5}
    for name in ("file_size", "x_file_length", "oc_total_length"):
        assert said_in_head(_head(**{name: "7"})).size == 7
    # Of the body, which may be a form.
    assert said_in_head(_head(content_md5=md5.hex())).digests == {}


def test_what_is_put_into_s3s_chunks_is_no_files_bytes() -> None:
    with pytest.raises(ProblemError) as refused:
        check_is_plain(_head(x_amz_content_sha256="STREAMING-UNSIGNED-PAYLOAD-TRAILER"))
    assert refused.value.slug == "media-type"
    check_is_plain(_head(x_amz_content_sha256="UNSIGNED-PAYLOAD"))
