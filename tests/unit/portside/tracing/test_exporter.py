"""Spans reach a collector as OTLP has them, and nothing waits for one that is slow or away."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from portside.backoff import Backoff
from portside.tracing import current, exporter, spans
from portside.tracing.collector import _endpoint
from portside.tracing.context import begin
from portside.tracing.exporter import Exporter
from portside.tracing.spans import Kind, step
from tests.support.collector import Collector
from tests.support.loopback import reserved_port, wait_until

RESOURCE = {"service.name": "portside-agent", "service.instance.id": "s01"}
TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJqdGkiOiIxIn0.c2lnbmF0dXJl"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pauses are short here; whatever a test records to is forgotten after it."""
    monkeypatch.setattr(exporter, "EVERY", 0.05)
    monkeypatch.setattr(exporter, "PAUSES", Backoff(first=0.05, longest=0.1))
    yield
    spans.record_to(None)


def _exporting(url: str) -> Exporter:
    made = Exporter(url, RESOURCE, "1.0")
    made.start()
    spans.record_to(made)
    return made


def test_steps_arrive_in_the_shape_of_otlp_with_their_order_times_and_failures(
    collector: Collector,
) -> None:
    made = _exporting(collector.url + "/")
    with step("outer", Kind.SERVER) as outermost:
        outermost.attributes |= {"url.path": f"/{TOKEN}", "http.response.status_code": 201}
        with pytest.raises(OSError), step("inner"):
            raise OSError("gone")
        time.sleep(0.01)
    found = {span.name: span for span in collector.wait_for(lambda got: len(got) == 2)}
    outer, inner = found["outer"], found["inner"]
    assert (inner.traceId, inner.parentSpanId) == (outer.traceId, outer.spanId)
    assert (outer.parentSpanId, outer.kind, inner.kind) == (None, 2, 1)
    assert (outer.status.code, inner.status.code) == (0, 2)
    assert inner.said == {"error.type": "OSError"}
    assert outer.said == {"url.path": "/[cut]", "http.response.status_code": "201"}
    assert int(outer.endTimeUnixNano) - int(outer.startTimeUnixNano) >= 10_000_000
    assert int(outer.startTimeUnixNano) <= int(inner.startTimeUnixNano)
    (resource,) = {
        each.key: each.value.stringValue
        for each in collector.exports[0].resourceSpans[0].resource.attributes
    }.items() & {("service.name", "portside-agent")}
    assert resource
    made.close()
    assert made.counts() == {"exported": 2}


def test_a_trace_that_its_sender_does_not_record_is_not_recorded_here(collector: Collector) -> None:
    made = _exporting(collector.url)
    with step("unrecorded", of=begin(sampled=False)):
        at = current.current()
    with step("recorded", of=begin(sampled=True)):
        pass
    collector.wait_for(lambda got: [span.name for span in got] == ["recorded"])
    made.close()
    assert at is not None
    assert at.headers["traceparent"].endswith("-00")
    assert [span.name for span in collector.spans()] == ["recorded"]


def test_a_host_that_can_be_none_is_away_and_ends_no_thread() -> None:
    made = _exporting("http://a..b:4318")
    with step("lost"):
        pass
    wait_until(lambda: made.counts() == {"undelivered": 1})
    made.close()


def test_a_collectors_url_with_a_password_or_an_empty_label_is_refused_and_not_quoted() -> None:
    for url in ("http://u:hunter2@c.test:4318", "http://hunter2..b:4318"):
        with pytest.raises(ValueError, match="must be the URL") as refused:
            _endpoint(url)
        assert "hunter2" not in str(refused.value)


def test_a_collector_that_hangs_delays_nobody_and_what_is_too_much_is_counted(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "QUEUE", 10)
    collector.delay = 5
    made = _exporting(collector.url)
    began = time.monotonic()
    for _ in range(exporter.BATCH + 100):
        with step("one"):
            pass
    assert time.monotonic() - began < 1
    assert made.counts()["queue-full"] >= 50
    began = time.monotonic()
    made.close()
    assert time.monotonic() - began < exporter.LAST_SECONDS + 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_spans_are_sent_again_to_a_collector_that_asks_for_it(
    collector: Collector, status: int
) -> None:
    collector.status = status
    made = _exporting(collector.url)
    with step("kept"):
        pass
    wait_until(lambda: collector.requests >= 2)
    collector.status = 200
    collector.wait_for(lambda got: len(got) == 1)
    made.close()
    assert made.counts() == {"exported": 1}


def test_what_a_collector_refuses_is_not_sent_again_but_counted(collector: Collector) -> None:
    collector.status = 400
    made = _exporting(collector.url)
    with step("refused"):
        pass
    wait_until(lambda: made.counts() == {"refused": 1})
    collector.status = 200
    collector.answer = {"partialSuccess": {"rejectedSpans": "1", "errorMessage": "too old"}}
    with step("taken"):
        pass
    wait_until(lambda: made.counts() == {"refused": 2})
    made.close()
    assert collector.requests == 2


def test_a_collector_that_is_away_costs_its_spans_and_nothing_else() -> None:
    made = _exporting(
        f"http://127.0.0.1:{reserved_port(test_a_collector_that_is_away_costs_its_spans_and_nothing_else)}"
    )
    with step("lost"):
        pass
    wait_until(lambda: made.counts() == {"undelivered": 1})
    made.close()


def test_the_last_spans_are_sent_at_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "EVERY", 60)
    made = _exporting(collector.url)
    with step("last"):
        pass
    made.close()
    assert [span.name for span in collector.spans()] == ["last"]


def test_without_a_collector_nothing_is_recorded_and_ids_are_made_all_the_same() -> None:
    with step("unheard") as taken:
        assert not taken.is_recorded
        outer = current.current()
        with step("within"):
            inner = current.current()
    assert outer is not None and inner is not None
    assert (inner.trace_id, inner.sampled) == (outer.trace_id, False)
    assert inner.span_id != outer.span_id
    assert current.current() is None
