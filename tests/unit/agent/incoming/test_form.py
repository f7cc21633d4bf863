"""A form has one file in it, all of it, as its other fields say; or it is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import pytest

from agent.incoming.form import FormFile, FormRefused
from agent.problems import ProblemError
from tests.support.agent.pieces import Pieces

DATA = b"0123456789"
FILE = ('form-data; name="file"; filename="a.bin"', DATA)
Part = tuple[str, bytes]


def field(name: str, value: object) -> Part:
    return f'form-data; name="{name}"', str(value).encode()


def form(parts: Iterable[Part | tuple[str, bytes, Mapping[str, str]]]) -> bytes:
    written = b""
    for disposition, content, *more in parts:
        headers = {"Content-Disposition": disposition, **(more[0] if more else {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        written += b"--b\r\n" + lines.encode() + b"\r\n" + content + b"\r\n"
    return written + b"--b--\r\n"


def read(parts: Iterable[Part | tuple[str, bytes, Mapping[str, str]]], room: int = 4) -> bytes:
    file = FormFile(Pieces(form(parts)), "b", 64)
    buffer, data = bytearray(room), b""
    while count := file.fill(memoryview(buffer)):
        data += buffer[:count]
    return data


def refusal(parts: Iterable[Part | tuple[str, bytes, Mapping[str, str]]]) -> str:
    try:
        read(parts)
    except FormRefused:
        return "malformed-request"
    except ProblemError as problem:
        return problem.slug
    raise AssertionError("nothing was refused")


def others(*pairs: tuple[str, object]) -> list[Part]:
    return [field(name, value) for name, value in pairs]


@pytest.mark.parametrize("room", [1, 5, 10, 11, 100])
def test_a_file_comes_out_as_it_went_in(room: int) -> None:
    assert read([FILE], room) == DATA
    assert read([field("a", "x"), FILE, field("b", "y")], room) == DATA


@pytest.mark.parametrize("name", ["file", "file[]", "files", "other"])
@pytest.mark.parametrize("filename", ["b.bin", ""])
def test_a_second_file_refuses_the_form_wherever_it_stands(name: str, filename: str) -> None:
    second = (f'form-data; name="{name}"; filename="{filename}"', b"more")
    assert refusal([FILE, second]) == "malformed-request"
    assert refusal([second, FILE]) == "malformed-request"
    empty = (f'form-data; name="{name}"; filename="b.bin"', b"")
    assert refusal([FILE, empty]) == "malformed-request"


@pytest.mark.parametrize(
    "disposition",
    ['form-data; name="file"; filename=""', 'form-data; name="file"'],
)
def test_an_input_without_a_choice_is_no_file(disposition: str) -> None:
    assert refusal([(disposition, b"")]) == "malformed-request"
    assert read([(disposition, b""), FILE]) == DATA
    assert read([FILE, (disposition, b"")]) == DATA


def test_an_input_of_another_name_may_be_left_empty() -> None:
    unused = ('form-data; name="cover"; filename=""', b"")
    assert read([unused, FILE, unused]) == DATA


def test_a_file_may_be_empty() -> None:
    assert read([('form-data; name="file"; filename="a.bin"', b"")]) == b""


PARTS_OF_FILES: dict[str, list[tuple[str, object]]] = {
    "Dropzone": [("dzuuid", "u"), ("dzchunkindex", 0), ("dztotalchunkcount", 3)],
    "plupload": [("name", "a.bin"), ("chunk", 0), ("chunks", 2)],
    "Resumable.js": [("resumableChunkNumber", 1), ("resumableTotalChunks", 2)],
    "Flow.js": [("flowChunkNumber", 2), ("flowTotalChunks", 2)],
    "FineUploader": [("qqpartindex", 0), ("qqtotalparts", 4), ("qqpartbyteoffset", 0)],
    "simple-uploader": [("chunkNumber", 1), ("totalChunks", 9)],
    "ng-file-upload": [("_chunkNumber", 0), ("_chunkSize", 4), ("_totalSize", 99)],
    "Kendo": [("metadata", '{"chunkIndex":0,"totalChunks":2,"totalFileSize":20}')],
    "DevExtreme": [("chunkMetadata", '{"Index":0,"TotalCount":2,"FileSize":20}')],
    "Syncfusion": [("chunk-index", 0), ("total-chunk", 2)],
}


@pytest.mark.parametrize("widget", PARTS_OF_FILES)
def test_a_part_of_a_file_is_never_taken_for_the_file(widget: str) -> None:
    fields = others(*PARTS_OF_FILES[widget])
    assert refusal([*fields, FILE]) == "partial-file"
    assert refusal([FILE, *fields]) == "partial-file"


WHOLE_FILES: dict[str, list[tuple[str, object]]] = {
    "Dropzone": [("dzchunkindex", 0), ("dztotalchunkcount", 1), ("dztotalfilesize", 10)],
    "plupload": [("name", "a.bin"), ("chunk", 0), ("chunks", 1)],
    "Resumable.js": [
        *(("resumableChunkNumber", 1), ("resumableTotalChunks", 1), ("resumableTotalSize", 10)),
        *(("resumableChunkSize", 100), ("resumableFilename", "a.bin")),
    ],
    "FineUploader": [("qquuid", "u"), ("qqfilename", "a.bin"), ("qqtotalfilesize", 10)],
    "Kendo": [("metadata", '{"chunkIndex":0,"totalChunks":1,"totalFileSize":10}')],
    "FilePond": [("metadata", "{}")],
    "words of an app": [
        ("size", "large"),
        ("part_number", "7"),
        ("metadata", '{"size":3}'),
        ("metadata", "[1"),
        ("chunk", ""),
    ],
}


@pytest.mark.parametrize("widget", WHOLE_FILES)
def test_the_only_part_of_a_small_file_is_the_file(widget: str) -> None:
    fields = others(*WHOLE_FILES[widget])
    assert read([*fields, FILE]) == read([FILE, *fields]) == DATA


@pytest.mark.parametrize("name", ["size", "filesize", "file_size", "fileSize", "dztotalfilesize"])
def test_a_file_of_another_size_than_the_form_says_is_refused(name: str) -> None:
    assert read([FILE, field(name, 10)]) == DATA
    for fields in ([field(name, 11), FILE], [FILE, field(name, 9)]):
        assert refusal(fields) == "size-mismatch"
    assert refusal([field(name, 10), FILE, field("total_size", 11)]) == "size-mismatch"


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1", "md5"])
def test_a_file_is_held_to_the_digest_in_a_field(algorithm: str) -> None:
    right = hashlib.new(algorithm, DATA, usedforsecurity=False).hexdigest()
    wrong = hashlib.new(algorithm, usedforsecurity=False).hexdigest()
    assert read([field(algorithm, right), FILE]) == DATA
    assert refusal([field(algorithm, wrong), FILE]) == "digest-mismatch"
    assert refusal([field(algorithm, "x"), FILE]) == "malformed-request"
    assert read([field(algorithm, right), FILE, field(algorithm, right)]) == DATA
    # By then the file has gone by.
    assert refusal([FILE, field(algorithm, right)]) == "malformed-request"


@pytest.mark.parametrize(
    ("headers", "slug"),
    [
        ({"Content-Transfer-Encoding": "base64"}, "media-type"),
        ({"Content-Transfer-Encoding": "Quoted-Printable"}, "media-type"),
        ({"Content-Encoding": "gzip"}, "media-type"),
        ({"Content-Type": "multipart/mixed; boundary=c"}, "media-type"),
        ({"Content-Range": "bytes 0-9/20"}, "partial-file"),
        ({"Content-Range": "bytes 0-10/11"}, "size-mismatch"),
        ({"Content-Length": "9"}, "malformed-request"),
        ({"Content-Length": "11"}, "malformed-request"),
        (
            {"Content-Digest": "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"},
            "digest-mismatch",
        ),
        ({"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "digest-mismatch"),
        ({"Content-MD5": "x"}, "malformed-request"),
    ],
)
def test_a_part_that_says_something_else_of_its_bytes_is_refused(
    headers: dict[str, str], slug: str
) -> None:
    assert refusal([(*FILE, headers)]) == slug


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Transfer-Encoding": "binary", "Content-Type": "application/octet-stream"},
        {"Content-Length": "10", "Content-Encoding": "identity"},
        {"Content-Range": "bytes 0-9/10", "Content-MD5": "eB5eJF1ptWaXm4bijSPyxw=="},
    ],
)
def test_a_part_that_says_of_its_bytes_what_they_are_is_taken(headers: dict[str, str]) -> None:
    assert read([(*FILE, headers)]) == DATA


def test_a_name_in_another_charset_fails_nobody_who_needs_no_name() -> None:
    latin = 'form-data; name="file"; filename="gr\xfc.bin"'.encode("latin-1")
    body = b"--b\r\nContent-Disposition: " + latin + b"\r\n\r\nx\r\n--b--\r\n"
    file = FormFile(Pieces(body), "b", 64)
    assert file.filename is None
    charset = form([field("_charset_", "iso-8859-1")]).removesuffix(b"--b--\r\n")
    assert FormFile(Pieces(charset + body), "b", 64).filename == "grü.bin"


def test_a_forms_other_fields_are_bounded_on_either_side_of_the_file() -> None:
    large = field("comment", "x" * 70_000)
    assert refusal([large, FILE]) == refusal([FILE, large]) == "malformed-request"
