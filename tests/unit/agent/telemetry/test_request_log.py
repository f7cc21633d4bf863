"""Which requests of the agent are worth a line."""

from __future__ import annotations

import pytest

from agent.telemetry.request_log import RequestLog
from portside.web.request_log import Answered


@pytest.mark.parametrize(
    ("method", "path", "outcome", "logged"),
    [
        ("PUT", "/api/internal/upload/a.iso", "ok", True),
        ("HEAD", "/api/internal/upload", "ok", False),
        ("HEAD", "/api/internal/upload/a.iso", "ok", False),
        ("HEAD", "/api/internal/upload/a.iso", "no-slot", True),
        ("OPTIONS", "/api/internal/upload", "ok", False),
        ("OPTIONS", "/api/v1/uploads", "ok", False),
        # Where an upload stands, and what a file is: somebody is about to go on.
        ("HEAD", "/api/v1/uploads/0123456789abcdef0123456789abcdef", "ok", True),
        ("HEAD", "/api/v1/files/0123456789abcdef0123456789abcdef/content", "ok", True),
        ("GET", "/health/ready", "ok", False),
    ],
)
def test_probes_that_go_well_are_not(method: str, path: str, outcome: str, logged: bool) -> None:
    log = RequestLog(lambda slug: None)
    assert log.is_logged(Answered(method, path, 204, outcome)) == logged
