"""What is said to a tus server: the headers of the protocol, and the path that it gave."""

from __future__ import annotations

from bench.tus_client import Place, join


def test_an_append_says_where_its_bytes_begin() -> None:
    place = Place(1, "/uploads/a", {"Authorization": "Bearer t"})
    request = place.append(4096)
    assert (request.method, request.target) == ("PATCH", "/uploads/a")
    assert request.headers == {
        "Tus-Resumable": "1.0.0",
        "Authorization": "Bearer t",
        "Content-Type": "application/offset+octet-stream",
        "Upload-Offset": "4096",
    }


def test_parts_are_joined_in_the_order_given() -> None:
    parts = [Place(1, f"/uploads/{name}", {"X": "y"}) for name in "ba"]
    request = join("/uploads", parts)
    assert (request.method, request.target) == ("POST", "/uploads")
    assert request.headers["Upload-Concat"] == "final;/uploads/b /uploads/a"
    assert request.headers["X"] == "y"
