"""Which requests of the agent are worth a line."""

from __future__ import annotations

import pytest

from agent.telemetry.request_log import RequestLog
from portside.web.request_log import Answered


@pytest.mark.parametrize(
    ("method", "path", "outcome", "logged"),
    [
        ("HEAD", "/api/internal/upload", "ok", False),
        ("OPTIONS", "/api/internal/upload/a.iso", "ok", False),
        ("HEAD", "/api/internal/upload", "read-only", True),
        ("PUT", "/api/internal/upload/a.iso", "ok", True),
        # No probe: a client asks how far its upload is.
        ("HEAD", "/api/v1/uploads/0a", "ok", True),
        ("GET", "/health/ready", "ok", False),
    ],
)
def test_probes_that_go_well_are_not(method: str, path: str, outcome: str, logged: bool) -> None:
    log = RequestLog(lambda slug: None)
    assert log.is_logged(Answered(method, path, 200, outcome)) == logged
