"""What the instruments count: outcomes, bytes, and where an upload's time went."""

from __future__ import annotations

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.problems import ProblemError
from agent.telemetry.metrics import Metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_committed_upload_is_counted_with_its_bytes_and_times() -> None:
    metrics = Metrics()
    with metrics.upload("put") as upload:
        with upload.phase("receive"):
            upload.last_byte()
        upload.received(1000)
        upload.committed(1000)
    assert value(metrics, "portside_uploads_total", way="put", outcome="committed") == 1
    assert value(metrics, "portside_received_bytes_total", way="put") == 1000
    assert value(metrics, "portside_committed_bytes_total", way="put") == 1000
    assert value(metrics, "portside_upload_seconds_count", way="put") == 1
    assert value(metrics, "portside_upload_phase_seconds_count", phase="receive") == 1
    assert value(metrics, "portside_upload_wait_seconds_count") == 1
    assert metrics.counts() == (1, {})


def test_a_failed_upload_is_counted_by_its_problem_and_not_timed() -> None:
    metrics = Metrics()
    for way in ("put", "tus"):
        with (
            pytest.raises(ProblemError),
            metrics.upload(way) as upload,
            upload.phase("receive"),
        ):
            upload.received(10)
            raise ProblemError("body-cut", "gone")
    with pytest.raises(ZeroDivisionError), metrics.upload("form"):
        raise ZeroDivisionError
    assert value(metrics, "portside_uploads_total", way="put", outcome="body-cut") == 1
    assert value(metrics, "portside_uploads_total", way="form", outcome="internal-error") == 1
    assert value(metrics, "portside_received_bytes_total", way="put") == 10
    assert value(metrics, "portside_upload_phase_seconds_count", phase="receive") == 0
    assert value(metrics, "portside_upload_seconds_count", way="put") == 0
    assert metrics.counts() == (0, {"body-cut": 2, "internal-error": 1})


def test_a_request_that_ends_nothing_has_no_outcome() -> None:
    metrics = Metrics()
    with metrics.upload("ietf") as upload:
        upload.received(5)
    assert metrics.counts() == (0, {})
    assert value(metrics, "portside_received_bytes_total", way="ietf") == 5


def test_series_are_there_before_their_first_event() -> None:
    metrics = Metrics()
    for way in ("form", "put", "tus", "ietf"):
        assert value(metrics, "portside_uploads_total", way=way, outcome="committed") == 0
    for slug in ("token-expired", "rate-limited", "no-slot", "internal-error"):
        assert value(metrics, "portside_problems_total", problem=slug) == 0


def test_names_follow_the_conventions_of_prometheus() -> None:
    text = generate_latest(Metrics().registry).decode()
    names = [family.name for family in text_string_to_metric_families(text)]
    assert names
    assert all(name.startswith("portside_") for name in names)
    assert not [name for name in names if name.endswith("_created")]


def test_two_agents_in_one_process_count_apart() -> None:
    first, second = Metrics(), Metrics()
    first.problem("no-slot")
    assert value(first, "portside_problems_total", problem="no-slot") == 1
    assert value(second, "portside_problems_total", problem="no-slot") == 0
