"""Clients hear of what passes in the status that makes them wait."""

from __future__ import annotations

import pytest

from agent.dialects.patience import patience_of
from agent.problems import ProblemError, Slug


@pytest.mark.parametrize(
    ("dialect", "method", "slug", "status"),
    [
        ("tus", "POST", "rate-limited", 503),
        ("ietf", "POST", "rate-limited", 429),
        (None, "POST", "rate-limited", 429),
        ("tus", "HEAD", "clock-off", 423),
        ("tus", "HEAD", "no-slot", 423),
        ("tus", "HEAD", "not-replicated", 423),
        ("ietf", "HEAD", "no-slot", 503),
        ("tus", "PATCH", "no-slot", 503),
        ("tus", "POST", "no-space", 507),
        ("tus", "HEAD", "upload-unknown", 404),
        ("tus", "HEAD", "upload-expired", 410),
        ("tus", "POST", "token-used", 409),
    ],
)
def test_a_refusal_has_the_status_that_its_client_knows(
    dialect: str | None, method: str, slug: Slug, status: int
) -> None:
    with pytest.raises(ProblemError, match="why") as heard, patience_of(dialect, method):
        raise ProblemError(slug, "why", headers={"Retry-After": "17"})
    assert (heard.value.status, heard.value.headers["Retry-After"]) == (status, "17")
