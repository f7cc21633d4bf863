"""An upload is at one place, however its URL was put together."""

from __future__ import annotations

import pytest

from agent.dialects.places import joined_uploads, plain_path, upload_id_of
from agent.problems import ProblemError

ID = "0123456789abcdef0123456789abcdef"
OTHER = ID[::-1]


@pytest.mark.parametrize(
    "path", ["/api/v1/uploads/", "//api/v1/uploads", "/api//v1/uploads//", "/api/v1/uploads"]
)
def test_the_collection_is_found(path: str) -> None:
    assert plain_path(path) == "/api/v1/uploads"
    assert upload_id_of(path) is None


@pytest.mark.parametrize("path", ["/api/internal/upload/", "//api/internal//upload"])
def test_the_place_of_whole_files_is_found(path: str) -> None:
    assert plain_path(path) == "/api/internal/upload"


@pytest.mark.parametrize(
    "path", [f"/api/v1/uploads/{ID}/", f"//api/v1/uploads//{ID}", f"/api/v1/uploads/{ID}"]
)
def test_an_upload_is_found(path: str) -> None:
    assert plain_path(path) == f"/api/v1/uploads/{ID}"
    assert upload_id_of(path) == ID


@pytest.mark.parametrize(
    "path",
    ["/", "//", "/api/v1/uploadsx/", "/api/internal/upload//a", f"/x//api/v1/uploads/{ID}/", ID],
)
def test_other_paths_stay_as_they_are(path: str) -> None:
    assert plain_path(path) == path


def test_parts_are_known_by_any_kind_of_url() -> None:
    urls = (
        f"/api/v1/uploads/{ID}",
        f"https://[2001:db8::1]:8443/api/v1/uploads/{OTHER}/",
        f"//api/v1/uploads//{'a' * 32}",
        f"http://localhost:8080//api/v1/uploads/{'b' * 32}?x=1",
    )
    assert joined_uploads("final;" + "  ".join(urls)) == (ID, OTHER, "a" * 32, "b" * 32)


@pytest.mark.parametrize(
    "urls", ["", " ", f"/elsewhere/{ID}", "/api/v1/uploads/short", "https://[x/", f"ftp:{ID}"]
)
def test_what_names_no_parts_is_refused(urls: str) -> None:
    with pytest.raises(ProblemError) as refused:
        joined_uploads(f"final;{urls}")
    assert refused.value.slug == "malformed-request"
