"""Problem documents: what each status brings along, and what a service adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import pytest

from portside import journal
from portside.tokens import TokenRefused
from portside.web.problems import BaseProblemError

OwnSlug = Literal["key-missing", "full", "broken"]


class ProblemError(BaseProblemError[OwnSlug]):
    """Of a service that keeps boxes."""

    retry_after = 7
    statuses: ClassVar[Mapping[OwnSlug, int]] = {"full": 503, "broken": 500}


def test_a_status_is_the_services_own_or_the_shared_one_or_that_of_a_stranger() -> None:
    assert ProblemError("full", "").status == 503
    assert ProblemError("not-found", "").status == 404
    assert ProblemError("token-wrong-node", "").status == 403
    assert ProblemError("token-expired", "").status == ProblemError("key-missing", "").status == 401


def test_who_is_not_known_hears_how_to_say_who_it_is() -> None:
    assert ProblemError("key-missing", "").headers == {
        "WWW-Authenticate": 'Bearer realm="portside"'
    }


@pytest.mark.parametrize(
    ("given", "expected"), [(None, "7"), ({"Retry-After": "60"}, "60"), ({"Allow": "GET"}, "7")]
)
def test_who_comes_too_early_hears_when_to_come_again(
    given: dict[str, str] | None, expected: str
) -> None:
    headers = ProblemError("full", "", given).headers
    assert headers["Retry-After"] == expected
    assert set(given or {}) <= set(headers)


def test_other_statuses_have_the_given_headers_only() -> None:
    assert ProblemError("not-found", "", {"Tus-Version": "1.0.0"}).headers == {
        "Tus-Version": "1.0.0"
    }


def test_the_document_says_what_and_where() -> None:
    problem = ProblemError("not-found", "no box is here", members={"boxes": 3})
    assert problem.document("/boxes/4").model_dump(exclude_none=True) == {
        "type": "urn:portside:problem:not-found",
        "title": "not found",
        "status": 404,
        "detail": "no box is here",
        "instance": "/boxes/4",
        "boxes": 3,
    }


def test_only_our_own_fault_brings_the_requests_id() -> None:
    journal.begin_request("ab" * 16)
    assert ProblemError("broken", "").document("/").request_id == "ab" * 16
    assert ProblemError("not-found", "").document("/").request_id is None


def test_a_refused_token_is_the_services_problem() -> None:
    problem = ProblemError.from_token(TokenRefused("token-expired", "it was good until noon"))
    assert type(problem) is ProblemError
    assert (problem.slug, problem.detail) == ("token-expired", "it was good until noon")
