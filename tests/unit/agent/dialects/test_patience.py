"""Clients of tus hear of what passes in the status that they wait for."""

from __future__ import annotations

import pytest

from agent.dialects.patience import as_tus_waits
from agent.problems import ProblemError


def test_too_many_requests_are_a_node_that_is_busy() -> None:
    with pytest.raises(ProblemError, match="come again") as heard, as_tus_waits():
        raise ProblemError("rate-limited", "come again", headers={"Retry-After": "17"})
    assert (heard.value.status, heard.value.headers["Retry-After"]) == (503, "17")


def test_other_refusals_stay_what_they_are() -> None:
    with pytest.raises(ProblemError) as heard, as_tus_waits():
        raise ProblemError("token-used", "get a new one")
    assert heard.value.status == 409
