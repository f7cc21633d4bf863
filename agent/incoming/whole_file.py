"""Whether a request in one piece brings the whole file, by all that it says of itself.

Many upload widgets cut a file into requests, each an ordinary upload but for a header, a query
parameter or a form field that tells which part it brings. Whoever overlooks it stores a part as the
file. Everything known to say so is looked for here; what says how large the file is has to agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from agent.incoming.digests import Digests, agreed, read_digest
from agent.incoming.request_head import RequestHead, whole_number
from agent.problems import ProblemError
from portside.wire import paths

Field = tuple[str, str]
"""A name and a value: of a header, a query parameter or a form's field."""

_RANGE = re.compile(r"bytes[ =]+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)

_SIZE_HEADERS = (
    "X-File-Size",
    "X-Upload-Content-Length",
    "X-Expected-Entity-Length",
    "X-Amz-Decoded-Content-Length",
    "OC-Total-Length",
    "X-Total-Size",
)
"""Older scripts; Google's resumable uploads; WebDAV in macOS; S3 in signed chunks; ownCloud. Each
has a number in it, or can't be read."""

_SIZES = {
    *("size", "filesize", "totalsize", "totalfilesize", "filetotalsize"),
    *("filelength", "totallength", "totalbytes"),
    *("dztotalfilesize", "qqtotalfilesize", "resumabletotalsize", "flowtotalsize"),
}
_COUNTS = {
    *("totalparts", "partcount", "partstotal", "numparts", "qqtotalparts"),
    *("totalblobnum", "totalsegments", "segmentcount", "totalslices", "slicecount"),
}
_PARTS = {"partindex", "qqpartindex", "blobnum", "segmentindex", "sliceindex"}
_OFFSETS = {"qqpartbyteoffset", "byteoffset", "fileoffset", "uploadoffset", "startbyte"}
"""As widgets name their fields, letters and digits alone: Dropzone, FineUploader, Resumable.js,
Flow.js, plupload, WebUploader, simple-uploader, ng-file-upload, Kendo, Syncfusion."""

_NO_PART_OF_A_CHUNK = re.compile(r"size|length|limit|timeout|retr|parallel|end$")
"""What is told of chunks beside which of how many one is: all else with a chunk in its name is."""

_DIGESTS = {
    f"{prefix}{name}{suffix}": algorithm
    for name, algorithm in (
        ("sha256", "sha-256"),
        ("sha512", "sha-512"),
        ("sha1", "sha"),
        ("md5", "md5"),
    )
    for prefix in ("", "file", "content", "bzcontent", "msblobcontent")
    for suffix in ("", "sum", "hash")
}

_IN_JSON = {
    "metadata": {name: name for name in ("chunkindex", "totalchunks", "totalfilesize")},
    "chunkmetadata": {"index": "chunkindex", "totalcount": "totalchunks", "filesize": "filesize"},
}
"""Kendo and DevExtreme put theirs into one field: their words, and the same among those above."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was said of the file beside its bytes."""

    size: int | None = None
    digests: Digests = field(default_factory=dict)


def check_is_plain(head: RequestHead) -> None:
    """Raise ProblemError for a body that isn't the bytes themselves, or that isn't sent yet.

    nginx and gunicorn answer for the transfer coding; this holds for uploads of every kind.
    """
    coding = head.header("Content-Encoding").lower()
    if coding not in ("", "identity"):
        raise ProblemError(
            "media-type",
            f"the content is encoded ({coding}) and would be stored so: send it as it is, without "
            "Content-Encoding",
            # And in no other 415 (RFC 9110, section 12.5.3).
            headers={"Accept-Encoding": "identity"},
        )
    if head.transfer_encoding.strip().lower() not in ("", "chunked"):
        raise ProblemError("malformed-request", "Transfer-Encoding can be 'chunked' and no more")
    if head.expect.strip().lower() not in ("", "100-continue"):
        raise ProblemError("expectation-failed", "Expect can be 100-continue and nothing else")
    if head.header("X-Amz-Content-SHA256").startswith("STREAMING-"):
        raise ProblemError(
            "media-type",
            "the content is in S3's signed chunks and would be stored so: send it as it is",
        )
    late = {name.strip().lower() for name in head.header("Trailer").split(",")}
    if late & {"content-digest", "repr-digest", "digest", "content-md5"}:
        raise ProblemError(
            "malformed-request", "a digest behind the body isn't read: send it in the headers"
        )


def said_in_head(head: RequestHead) -> Said:
    """What a request's head says of its file. Raises ProblemError when it brings a part of one."""
    _check_not_resumable(head)
    _check_not_another_method(head)
    _check_not_another_operation(head)
    # That one is of the body, which may be a form.
    headers = [(name, value) for name, value in head.fields() if name != "CONTENT-MD5"]
    query = parse_qsl(head.query, keep_blank_values=True)
    told = said_in_fields([*headers, *query])
    sizes = [whole_number(name, head.header(name)) for name in _SIZE_HEADERS]
    ranges = [size_in_range(head.header(name)) for name in ("Content-Range", "X-Content-Range")]
    return Said(one_size([*sizes, *ranges, told.size]), told.digests)


def said_in_fields(fields: Iterable[Field]) -> Said:
    """What a form's other fields say of its file. Raises ProblemError when it is a part of one."""
    said: dict[str, list[str]] = {}
    for name, value in fields:
        for plain, text in _plainly(name, value):
            said.setdefault(plain, []).append(text.strip())
    counts = _numbers(said, filter(_is_count, said))
    if any(count > 1 for count in counts):
        raise part_of_a_file()
    # Resumable.js and its kin number even the only part of a small file.
    parts = _numbers(said, filter(_is_part, said))
    if (parts and not counts) or any(_numbers(said, filter(_is_offset, said))):
        raise part_of_a_file()
    last = [text.lower() for name in ("lastchunk", "islastchunk") for text in said.get(name, ())]
    if not {"false", "0"}.isdisjoint(last):
        raise part_of_a_file()
    sizes = _numbers(said, _SIZES & set(said))
    ranges = [size_in_range(text) for text in said.get("contentrange", ()) if text]
    return Said(one_size([*sizes, *ranges]), _digests(said))


def size_in_range(value: str) -> int | None:
    """The file's size by a Content-Range (RFC 9110, section 14.4) that spans all of it.

    `curl -C -` sends one when it begins anew. Raises ProblemError for one that spans less
    (section 14.5).
    """
    if not value:
        return None
    match = _RANGE.fullmatch(value.strip())
    if match is None or match[3] == "*" or int(match[1]) or int(match[2]) + 1 != int(match[3]):
        raise part_of_a_file()
    return int(match[3])


def one_size(sizes: Iterable[int | None]) -> int | None:
    """The file's size when all who tell one agree. Raises ProblemError otherwise."""
    told = sorted({size for size in sizes if size is not None})
    if len(told) > 1:
        raise ProblemError(
            "size-mismatch", f"the request says that the file has {told[0]} bytes, and {told[-1]}"
        )
    return told[0] if told else None


def part_of_a_file() -> ProblemError:
    """The one answer to a part of a file where a whole one belongs."""
    return ProblemError(
        "partial-file",
        f"this brings a part of a file: send the whole file in one request, or parts of it to "
        f"{paths.RESUMABLE_UPLOADS} (tus 1.0 or the IETF's resumable uploads)",
    )


def _check_not_resumable(head: RequestHead) -> None:
    incomplete = (
        head.header("Upload-Complete").startswith("?0")
        or head.header("Upload-Incomplete").startswith("?1")
        or head.header("Upload-Offset") not in ("", "0")
        or head.header("Tus-Resumable")
    )
    if incomplete:
        raise part_of_a_file()


def _check_not_another_method(head: RequestHead) -> None:
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        meant = head.header(name).upper()
        if meant not in ("", head.method):
            raise ProblemError(
                "malformed-request", f"{name} says {meant}: send the request with that method"
            )


def _check_not_another_operation(head: RequestHead) -> None:
    """Raise ProblemError for what object stores take in a PUT beside an object's bytes."""
    for name, value in head.fields():
        if name.endswith("-COPY-SOURCE") or name in ("X-COPY-FROM", "X-OBJECT-MANIFEST"):
            raise ProblemError(
                "malformed-request", f"{name.title()} names another file: send the file's bytes"
            )
        if name.endswith("PART-NUMBER") or name == "X-UPDATE-RANGE":
            raise part_of_a_file()
        if _plain(name) in ("offset", "googuploadoffset") and value.strip() not in ("", "0"):
            raise part_of_a_file()
    command = head.header("X-Goog-Upload-Command").lower()
    if command and "finalize" not in command:
        raise part_of_a_file()
    if head.header("X-Ms-Blob-Type").lower() not in ("", "blockblob"):
        raise part_of_a_file()
    for name, value in parse_qsl(head.query, keep_blank_values=True):
        # S3's, Azure's, Google's, OSS's and HDFS's. In a form it may be a part's number in a shop.
        if name in ("partNumber", "uploadId", "upload_id", "comp", "append") or (
            (name in ("op", "mode") and value.lower() == "append")
            or (name == "offset" and value not in ("", "0"))
        ):
            raise part_of_a_file()


def _plainly(name: str, value: str) -> Iterable[Field]:
    """A field by its name's letters and digits; one of JSON as the fields in it."""
    plain = _plain(name)
    if plain not in _IN_JSON:
        return [(plain, value)]
    try:
        members: Any = json.loads(value)
    except (ValueError, RecursionError):
        return []
    if not isinstance(members, dict):
        return []
    words = _IN_JSON[plain]
    said = ((_plain(key), str(member)) for key, member in members.items())
    return [(words[key], member) for key, member in said if key in words]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", re.sub(r"^(?:x|oc)-", "", name.lower()))


def _is_count(name: str) -> bool:
    return name in _COUNTS or (
        _is_of_a_chunk(name) and any(word in name for word in ("chunks", "total", "count"))
    )


def _is_offset(name: str) -> bool:
    return name in _OFFSETS or (
        _is_of_a_chunk(name) and any(word in name for word in ("offset", "start", "begin"))
    )


def _is_part(name: str) -> bool:
    return name in _PARTS or (
        _is_of_a_chunk(name) and not (_is_count(name) or _is_offset(name) or "last" in name)
    )


def _is_of_a_chunk(name: str) -> bool:
    return "chunk" in name and not _NO_PART_OF_A_CHUNK.search(name)


def _numbers(said: dict[str, list[str]], names: Iterable[str]) -> list[int]:
    """The numbers in these fields. A word in one of them is some other form's own field."""
    texts = [text for name in names for text in said[name]]
    return [int(text) for text in texts if re.fullmatch(r"\d{1,18}", text, re.ASCII)]


def _digests(said: dict[str, list[str]]) -> Digests:
    found: list[Digests] = []
    for name, algorithm in _DIGESTS.items():
        for text in filter(None, said.get(name, ())):
            digest = read_digest(text, algorithm)
            if digest is None:
                raise ProblemError("malformed-request", f"the field {name} holds no {algorithm}")
            found.append({algorithm: digest})
    return agreed(*found)
