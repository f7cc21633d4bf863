"""What a target's answer means for a push, and when it is tried again."""

from __future__ import annotations

import pytest

from agent.outbox.retry import LONGEST_ERROR
from agent.replication.attempt import SCHEDULE, Attempt, after, refused, slug_of

NOW = 1_800_000_000


def test_pauses_double_up_to_the_longest_and_are_never_nothing() -> None:
    failed = Attempt("failed")
    found = [after(failed, made, False, NOW, 1.0).due - NOW for made in (0, 1, 2, 30)]
    assert found == [2, 4, 8, 3600]
    assert after(failed, 4, False, NOW, 0.0).due == NOW + 1


def test_a_failure_is_tried_again_until_there_were_enough() -> None:
    failed = Attempt("failed", "why" * LONGEST_ERROR)
    following = after(failed, 0, False, NOW, 1.0)
    assert (following.state, following.attempts, following.due) == (
        *("WAITING", 1),
        NOW + 2,
    )
    assert len(following.error) == LONGEST_ERROR
    assert after(failed, SCHEDULE.most - 2, False, NOW, 1.0).state == "WAITING"
    assert after(failed, SCHEDULE.most - 1, False, NOW, 1.0).state == "DEAD"


def test_attempts_that_bring_it_forward_do_not_count() -> None:
    following = after(Attempt("failed"), SCHEDULE.most - 1, True, NOW, 0.5)
    assert (following.state, following.attempts) == ("WAITING", 1)


def test_what_is_hopeless_is_given_up_at_once() -> None:
    assert after(Attempt("hopeless"), 0, False, NOW, 0.5).state == "DEAD"


def test_a_target_that_asks_for_time_gets_it() -> None:
    attempt = refused(503, {"Retry-After": "30"}, "no-slot", "full")
    assert after(attempt, 0, False, NOW, 0.0).due == NOW + 30


@pytest.mark.parametrize("asked", ["", "soon", "-5", "²", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_what_is_no_number_of_seconds_is_passed_over(asked: str) -> None:
    assert refused(503, {"Retry-After": asked}, "", "").wait == 0


def test_nobody_is_waited_for_longer_than_the_longest_pause() -> None:
    attempt = refused(503, {"Retry-After": "9" * 30}, "", "")
    assert attempt.wait == 3600


@pytest.mark.parametrize(
    ("status", "slug", "result"),
    [
        (422, "digest-mismatch", "damaged"),
        (410, "file-deleted", "hopeless"),
        (409, "file-differs", "hopeless"),
        (409, "name-taken", "hopeless"),
        (403, "path-refused", "hopeless"),
        (409, "offset-mismatch", "failed"),
        (401, "token-unknown-key", "failed"),
        (503, "no-slot", "failed"),
        (507, "no-space", "failed"),
        (502, "", "failed"),
    ],
)
def test_each_refusal_has_its_meaning(status: int, slug: str, result: str) -> None:
    attempt = refused(status, {}, slug, "because")
    assert attempt.result == result
    assert str(status) in attempt.error


def test_only_our_own_problems_have_a_slug() -> None:
    assert slug_of("urn:portside:problem:no-slot") == "no-slot"
    assert slug_of("about:blank") == slug_of(None) == ""
