"""What was cut waits for someone to take it on, each once."""

from __future__ import annotations

from faults.checking.content import Content
from faults.checking.journal import Attempt, Journal, Part
from tests.support.minting import upload_claims


def _attempt() -> Attempt:
    content = Content(memoryview(b"abc"), 0, 3)
    claims = upload_claims("lab", "s01", {"namespace": "isos"})
    return Attempt(claims, "token", "a.bin", "tus", content, [Part(content)])


def test_attempts_that_were_cut_are_taken_on_oldest_first_and_once() -> None:
    journal, attempts = Journal(), [_attempt(), _attempt()]
    for attempt in attempts:
        journal.begin(attempt)
        journal.interrupt(attempt)
    assert journal.waiting() == attempts
    assert [journal.adopt(), journal.adopt(), journal.adopt()] == [*attempts, None]


def test_an_attempt_is_found_by_its_file_whether_it_waits_or_not() -> None:
    journal, attempt = Journal(), _attempt()
    journal.begin(attempt)
    assert journal.find(attempt.claims.file_id) is attempt
    assert journal.find("0" * 32) is None


def test_offsets_told_are_counted_by_part() -> None:
    attempt = _attempt()
    assert attempt.offsets_told == 0
    attempt.parts[0].told = 2
    assert attempt.offsets_told == 1
