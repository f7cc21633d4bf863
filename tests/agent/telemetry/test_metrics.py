"""`/metrics` tells what happened and what is so, in the very numbers that admission decides by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from portside.quantities import MIB
from portside.wire.hooks import Hook
from tests.support.agent.process import SMALL_NODE, Agent, slug_of
from tests.support.agent.worker_process import Worker
from tests.support.logs import whole_lines_of

MakeAgent = Callable[..., Agent]
TUS = {"Tus-Resumable": "1.0.0"}


class Scraped:
    """One answer of `/metrics`."""

    def __init__(self, agent: Agent) -> None:
        answer = requests.get(f"{agent.url}/metrics", timeout=60)
        assert answer.status_code == 200
        self.samples = [
            sample
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        ]

    def __call__(self, name: str, **labels: str) -> float:
        found = [s.value for s in self.samples if (s.name, s.labels) == (name, labels)]
        assert len(found) == 1, (name, labels, found)
        return float(found[0])


def test_uploads_are_counted_by_way_and_outcome(agent: Agent) -> None:
    assert agent.put("a.bin", bytes(1000)).status_code == 201
    assert agent.post("b.bin", bytes(500)).status_code == 201
    assert agent.put("c.exe", b"x").status_code == 415
    token = {"Authorization": f"Bearer {agent.mint(name='d.bin')}"}
    created = requests.post(
        f"{agent.url}/api/v1/uploads",
        data=bytes(7),
        headers={
            **token,
            **TUS,
            "Upload-Length": "7",
            "Content-Type": "application/offset+octet-stream",
        },
        timeout=60,
    )
    assert created.status_code == 201
    told = Scraped(agent)
    for way, size in (("put", 1000), ("form", 500), ("tus", 7)):
        assert told("portside_uploads_total", way=way, outcome="committed") == 1
        assert told("portside_committed_bytes_total", way=way) == size
        assert told("portside_received_bytes_total", way=way) == size
        assert told("portside_upload_seconds_count", way=way) == 1
    assert told("portside_uploads_total", way="put", outcome="type-refused") == 1
    assert told("portside_problems_total", problem="type-refused") == 1
    assert told("portside_upload_wait_seconds_count") == 3
    assert told("portside_upload_wait_seconds_sum") < 60
    for phase in ("receive", "sync", "commit"):
        assert told("portside_upload_phase_seconds_count", phase=phase) >= 2
    assert told("portside_files") == 3
    assert told("portside_files_bytes") == 1507
    status = agent.status()
    (failed,) = status["recent_failures"]
    assert (failed["way"], failed["problem"]) == ("put", "type-refused")
    ours = [json.loads(line) for line in whole_lines_of(agent.log) if failed["request_id"] in line]
    assert [line["outcome"] for line in ours] == ["type-refused"]
    assert (status["active_uploads"], status["max_concurrent"]) == (0, status["slots"]["limit"])


def test_gauges_are_admissions_own_numbers_while_an_upload_runs(agent: Agent) -> None:
    running = agent.open_put("a.bin", 3 * MIB)
    agent.wait_for_uploads(1)
    status, told = agent.status(), Scraped(agent)
    assert told("portside_slots_used") == status["slots"]["used"] == 1
    assert told("portside_slots_limit") == status["slots"]["limit"]
    assert told("portside_memory_reserved_bytes") == status["memory"]["reserved"] > 0
    assert told("portside_memory_limit_bytes") == status["memory"]["limit"]
    assert told("portside_disk_total_bytes") == status["disk"]["total"]
    assert told("portside_disk_kept_bytes") == status["disk"]["kept_free"]
    assert told("portside_disk_reserved_bytes") == status["disk"]["reserved"]
    assert told("portside_accepting_uploads") == 1
    running.close()
    agent.wait_for_uploads(0)
    assert Scraped(agent)("portside_slots_used") == 0


def test_refusals_of_the_preflight_are_counted_once(agent: Agent) -> None:
    for token, slug in ((agent.mint(exp=1), "token-expired"), ("rubbish", "token-malformed")):
        refused = requests.get(
            f"{agent.url}/internal/preflight",
            headers={
                "Authorization": f"Bearer {token}",
                "X-Original-Method": "PUT",
                "X-Original-URI": "/api/internal/upload/a.bin",
                "X-Original-Content-Length": "5",
            },
            timeout=60,
        )
        assert refused.status_code == 403
        told = Scraped(agent)
        assert told("portside_problems_total", problem=slug) == 1
        assert told("portside_uploads_total", way="put", outcome=slug) == 1
        assert agent.status()["failures"][slug] == 1


def test_open_uploads_and_hooks_that_wait_are_told(make_worker: Callable[..., Worker]) -> None:
    worker = make_worker(Hook(namespace="*", command=("/bin/true",)))
    agent = worker.agent
    for length in ("5", "6"):
        token = {"Authorization": f"Bearer {agent.mint(name='a.bin')}"}
        headers = {**token, **TUS, "Upload-Length": length}
        requests.post(f"{agent.url}/api/v1/uploads", headers=headers, timeout=60)
    assert agent.put("a.bin", b"x").status_code == 201
    told = Scraped(agent)
    assert told("portside_resumable_uploads", kind="whole") == 2
    assert told("portside_deliveries", state="waiting") == 1
    worker.start()
    worker.wait_for(lambda: worker.report().deliveries.delivered == 1)
    worker.wait_for(lambda: worker.report().scrub.files_verified == 1)
    told = Scraped(agent)
    assert told("portside_deliveries", state="waiting") == 0
    assert told("portside_delivered_total") == 1
    assert told("portside_scrubbed_files_total") == 1
    assert told("portside_worker_report_age_seconds") < 60


def test_a_problem_of_the_node_names_the_request(make_agent: MakeAgent) -> None:
    agent = make_agent(sizing=replace(SMALL_NODE, memory_kept_free=1 << 60))
    agent.start()
    refused = agent.put("a.bin", b"x")
    assert (refused.status_code, slug_of(refused)) == (503, "no-memory")
    assert refused.json()["request_id"] == refused.headers["X-Request-ID"]
    assert "request_id" not in agent.put("a.exe", b"x").json()


# -- each owner's rate -----------------------------------------------------------------------------


@pytest.fixture
def slow_agent(make_agent: MakeAgent) -> Agent:
    """An agent that lets each owner begin two uploads a minute."""
    agent = make_agent(settings={"uploads_per_minute": 2})
    agent.start()
    return agent


def test_an_owner_who_begins_too_many_uploads_hears_when_to_come_again(slow_agent: Agent) -> None:
    for _ in range(2):
        assert slow_agent.put("a.bin", b"x").status_code == 201
    refused = slow_agent.put("a.bin", b"x")
    assert (refused.status_code, slug_of(refused)) == (429, "rate-limited")
    assert 0 < int(refused.headers["Retry-After"]) <= 30
    assert slow_agent.put("a.bin", b"x", slow_agent.mint(sub="another")).status_code == 201
    assert len(slow_agent.visible_files()) == 3
    assert Scraped(slow_agent)("portside_problems_total", problem="rate-limited") == 1
    # Clients of tus give up at 429: they hear the same as a node that is busy.
    tus = {**TUS, "Authorization": f"Bearer {slow_agent.mint(name='a.bin')}", "Upload-Length": "5"}
    busy = requests.post(f"{slow_agent.url}/api/v1/uploads", headers=tus, timeout=60)
    assert (busy.status_code, slug_of(busy)) == (503, "throttled")
    assert 0 < int(busy.headers["Retry-After"]) <= 30


def test_nginxs_question_does_not_count(slow_agent: Agent) -> None:
    for _ in range(5):
        asked = requests.get(
            f"{slow_agent.url}/internal/preflight",
            headers={
                "Authorization": f"Bearer {slow_agent.mint()}",
                "X-Original-Method": "PUT",
                "X-Original-URI": "/api/internal/upload/a.bin",
                "X-Original-Content-Length": "5",
            },
            timeout=60,
        )
        assert asked.status_code == 204
    assert slow_agent.put("a.bin", b"x").status_code == 201


def test_an_upload_that_has_begun_never_hears_of_the_rate(slow_agent: Agent) -> None:
    token = {"Authorization": f"Bearer {slow_agent.mint(name='a.bin')}"}
    uploads = f"{slow_agent.url}/api/v1/uploads"
    begin = {**token, **TUS, "Upload-Length": "5"}
    created = requests.post(uploads, headers=begin, timeout=60)
    assert created.status_code == 201
    assert slow_agent.put("b.bin", b"x").status_code == 201
    assert slow_agent.put("c.bin", b"x").status_code == 429
    url = f"{uploads}/{created.headers['Location'].rpartition('/')[2]}"
    assert requests.post(uploads, headers=begin, timeout=60).status_code == 201
    for offset in range(5):
        assert requests.head(url, headers={**token, **TUS}, timeout=60).status_code == 200
        append = {
            **token,
            **TUS,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        assert requests.patch(url, data=b"x", headers=append, timeout=60).status_code == 204
