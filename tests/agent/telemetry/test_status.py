"""What upload-status tells to whom; wrong tokens count against the address they come from."""

from __future__ import annotations

from collections.abc import Callable

import requests

from tests.support.agent.process import Agent

STATUS = "/api/v1/system/upload-status"
WRONG = "x.y.z"


def test_the_public_hears_of_slots_alone(shared_agent: Agent) -> None:
    url = shared_agent.url + STATUS
    told = requests.get(url, headers={"X-Reads-Metrics": "0"}, timeout=60).json()
    assert told.keys() == {"node_id", "accepting", "slots", "active_uploads", "max_concurrent"}
    everything = requests.get(url, headers={"X-Reads-Metrics": "1"}, timeout=60).json()
    assert told.items() <= everything.items()
    assert {"version", "memory", "disk", "recent_failures"} <= everything.keys()


def test_wrong_tokens_count_on_every_endpoint_and_right_ones_pass(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(settings={"wrong_tokens_per_minute": 4, "private": ["contracts"]})
    agent.start()

    def tried(method: str, path: str, token: str = WRONG, **headers: str) -> tuple[int, str]:
        sent = {"X-Forwarded-For": "192.0.2.7", "Authorization": f"Bearer {token}", **headers}
        answer = requests.request(method, agent.url + path, headers=sent, timeout=60)
        return answer.status_code, answer.headers.get("X-Refusal-Status", "")

    original = {"X-Original-Method": "PUT", "X-Original-URI": "/api/internal/upload/a.bin"}
    original["X-Original-Content-Length"] = "1"
    private = {"X-Original-URI": "/uploads/contracts/a.pdf"}
    replicate = "/api/internal/replicate/files/a.bin"
    assert tried("PUT", "/api/internal/upload/a.bin")[0] == 401
    assert tried("GET", "/api/v1/files")[0] == 401
    assert tried("GET", "/internal/preflight", **original) == (403, "401")
    assert tried("GET", "/internal/download", **private) == (403, "401")
    # Those were too many: on whatever path, the next one is.
    assert tried("HEAD", replicate)[0] == 429
    assert tried("GET", "/internal/preflight", **original) == (403, "429")
    assert tried("GET", "/internal/download", **private) == (403, "429")
    # After 429 a client of tus would give up as after 401, and not know why.
    assert tried("HEAD", f"/api/v1/uploads/{'0' * 32}", **{"Tus-Resumable": "1.0.0"})[0] == 401
    assert tried("GET", "/api/v1/files", **{"X-Forwarded-For": "192.0.2.8"})[0] == 401
    assert tried("GET", "/internal/preflight", agent.mint(), **original)[0] == 204
