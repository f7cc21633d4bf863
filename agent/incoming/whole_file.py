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
    "Upload-Length",
)
"""Older scripts; Google's resumable uploads; WebDAV in macOS; S3 in signed chunks; ownCloud; the
IETF's resumable uploads."""

_PART_HEADERS = (
    "X-Chunk-Index",
    "X-Chunk-Number",
    "X-Part-Index",
    "X-Total-Chunks",
    "X-Chunks",
    "X-Chunks-Number",
    "Uploader-Chunk-Number",
    "Uploader-Chunks-Total",
    "OC-Chunked",
)

_SIZES = {
    *("size", "filesize", "totalsize", "totalfilesize"),
    *("dztotalfilesize", "qqtotalfilesize", "resumabletotalsize", "flowtotalsize"),
}
_COUNTS = {
    *("chunks", "totalchunks", "totalchunk", "chunkcount", "totalchunkcount", "chunkstotal"),
    *("totalparts", "partcount", "chunksnumber", "dztotalchunkcount", "qqtotalparts"),
    *("resumabletotalchunks", "flowtotalchunks", "uploaderchunkstotal"),
}
_PARTS = {
    *("chunk", "chunkindex", "chunknumber", "partindex", "chunked"),
    *("dzchunkindex", "qqpartindex", "resumablechunknumber", "flowchunknumber"),
    *("uploaderchunknumber",),
}
_OFFSETS = {"chunkoffset", "dzchunkbyteoffset", "qqpartbyteoffset", "byteoffset"}
"""As widgets name their fields, letters and digits alone: Dropzone, FineUploader, Resumable.js,
Flow.js, plupload, WebUploader, simple-uploader, ng-file-upload, Kendo, Syncfusion."""

_DIGESTS = {
    f"{prefix}{name}{suffix}": algorithm
    for name, algorithm in (
        ("sha256", "sha-256"),
        ("sha512", "sha-512"),
        ("sha1", "sha"),
        ("md5", "md5"),
    )
    for prefix in ("", "file", "content")
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
    late = {name.strip().lower() for name in head.header("Trailer").split(",")}
    if late & {"content-digest", "repr-digest", "digest", "content-md5"}:
        raise ProblemError(
            "malformed-request", "a digest behind the body isn't read: send it in the headers"
        )


def said_in_head(head: RequestHead) -> Said:
    """What a request's head says of its file. Raises ProblemError when it brings a part of one."""
    _check_not_resumable(head)
    _check_not_another_method(head)
    headers = [(name, head.header(name)) for name in _PART_HEADERS]
    ranges = [head.header("Content-Range"), head.header("X-Content-Range")]
    sizes = [
        *(whole_number(name, head.header(name)) for name in _SIZE_HEADERS),
        *(size_in_range(value) for value in ranges),
    ]
    query = parse_qsl(head.query, keep_blank_values=True)
    if any(name == "partNumber" for name, _ in query):
        # S3's. In a form it may be a part's number in a shop.
        raise part_of_a_file()
    told = said_in_fields([*headers, *query])
    return Said(one_size([*sizes, told.size]), told.digests)


def said_in_fields(fields: Iterable[Field]) -> Said:
    """What a form's other fields say of its file. Raises ProblemError when it is a part of one."""
    said: dict[str, list[str]] = {}
    for name, value in fields:
        for plain, text in _plainly(name, value):
            said.setdefault(plain, []).append(text.strip())
    counts = _numbers(said, _COUNTS)
    if any(count > 1 for count in counts):
        raise part_of_a_file()
    # Resumable.js and its kin number even the only part of a small file.
    if (_numbers(said, _PARTS) and not counts) or any(_numbers(said, _OFFSETS)):
        raise part_of_a_file()
    return Said(one_size(_numbers(said, _SIZES)), _digests(said))


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


def _numbers(said: dict[str, list[str]], names: set[str]) -> list[int]:
    """The numbers in these fields. A word in one of them is some other form's own field."""
    texts = [text for name in names & set(said) for text in said[name]]
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
