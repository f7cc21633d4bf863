"""What the head of an upload in one request says, however its sender writes it."""

from __future__ import annotations

import pytest

from agent.incoming.request_head import RequestHead
from agent.problems import ProblemError
from agent.uploads.request import UploadRequest, upload_request


def _asked(method: str, uri: str, content_type: str = "", **headers: str) -> UploadRequest:
    environ = {"REQUEST_METHOD": method, "RAW_URI": uri, "CONTENT_TYPE": content_type}
    environ["CONTENT_LENGTH"] = "100"
    fields = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    return upload_request(RequestHead.of_request(environ | fields))


@pytest.mark.parametrize(
    ("parameters", "boundary"),
    [
        ("boundary=b", "b"),
        ('boundary="a b"', "a b"),
        ("charset=utf-8;boundary=b", "b"),
        ("Boundary=b;", "b"),
        # Java writes characters without quotes that belong between them (RFC 2045, section 5.1).
        ("boundary=----=_Part_1_2.3", "----=_Part_1_2.3"),
        ("boundary=a:b/c?d; charset=UTF-8", "a:b/c?d"),
    ],
)
def test_a_forms_boundary_is_read_as_it_is_written(parameters: str, boundary: str) -> None:
    asked = _asked("POST", "/api/internal/upload", f"Multipart/Form-Data; {parameters}")
    assert asked.boundary == boundary


@pytest.mark.parametrize("parameters", ["", "; boundary=", ', boundary="b"'])
def test_a_form_without_a_boundary_is_refused(parameters: str) -> None:
    with pytest.raises(ProblemError, match="multipart/form-data with a boundary"):
        _asked("POST", "/api/internal/upload", f"multipart/form-data{parameters}")


def test_the_length_of_an_upload_is_its_bodys() -> None:
    # Apple's URLSession says it with whatever it sends, of a form as well.
    form = ("POST", "/api/internal/upload", "multipart/form-data; boundary=b")
    asked = _asked(*form, upload_complete="?1", upload_length="100")
    assert (asked.length, asked.size) == (100, None)
    raw = ("PUT", "/api/internal/upload/a.bin")
    assert _asked(*raw, upload_length="100").size == 100
    for sent in (form, raw):
        with pytest.raises(ProblemError) as refused:
            _asked(*sent, upload_length="99")
        assert refused.value.slug == "size-mismatch"
    chunked = _asked(*raw, upload_length="99", transfer_encoding="chunked")
    assert (chunked.length, chunked.size) == (None, 99)


@pytest.mark.parametrize("place", ["/api/internal/upload", "//api/internal/upload"])
@pytest.mark.parametrize("name", ["/a.bin", "//a.bin"])
def test_slashes_too_many_are_no_part_of_a_name(place: str, name: str) -> None:
    assert _asked("PUT", place + name).sent_name == "a.bin"
