"""Which requests of the control plane are worth a line."""

from __future__ import annotations

import pytest

from control.api.requests.request_log import RequestLog
from portside.web.request_log import Answered


@pytest.mark.parametrize(
    ("path", "outcome", "logged"),
    [
        ("/api/v1/files", "ok", True),
        ("/api/v1/files", "not-found", True),
        ("/api/v1/nodes/s01/heartbeat", "ok", False),
        ("/api/v1/nodes/s01/heartbeat", "heartbeat-replayed", True),
        ("/health/ready", "ok", False),
        ("/nowhere", "not-found", True),
    ],
)
def test_probes_and_heartbeats_that_go_well_are_not(path: str, outcome: str, logged: bool) -> None:
    log = RequestLog(lambda slug: None)
    assert log.is_logged(Answered("GET", path, 200, outcome)) == logged


def test_a_browsers_question_what_it_may_do_is_not() -> None:
    log = RequestLog(lambda slug: None)
    assert not log.is_logged(Answered("OPTIONS", "/api/v1/files", 200, "ok"))
