"""A node whose clock differs from the control plane's: said aloud, and nothing is lost by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import requests

from portside.wire.heartbeat import Roster
from tests.support.agent.control_double import ControlDouble
from tests.support.agent.process import slug_of
from tests.support.agent.worker_process import Worker

HOUR = 3600


@pytest.fixture
def control() -> Iterator[ControlDouble]:
    with ControlDouble() as double:
        yield double


@pytest.fixture
def node(make_worker: Callable[..., Worker], control: ControlDouble) -> Worker:
    """A running agent and its worker, not started yet, whose clock is an hour ahead."""
    worker = make_worker(heartbeat_every=0.2)
    control.keys = worker.agent.node_keys
    control.ahead = -HOUR
    roster = Roster(version=10, cluster="lab", control_url=control.url)
    (worker.agent.home / "roster.json").write_text(roster.model_dump_json())
    return worker


def warnings(node: Worker) -> list[str]:
    ready = requests.get(f"{node.agent.url}/health/ready", timeout=60)
    assert ready.status_code == 200, "uploads whose tokens count go on"
    return [each for each in ready.json()["warnings"] if each.startswith("clock")]


def test_it_is_told_until_the_clocks_agree(node: Worker, control: ControlDouble) -> None:
    node.start()
    node.wait_for(lambda: warnings(node))
    (warning,) = warnings(node)
    assert warning.startswith("clock: this clock is 1h00m ahead of the control plane's")
    metrics = requests.get(f"{node.agent.url}/metrics", timeout=60).text
    (line,) = [each for each in metrics.splitlines() if each.startswith("portside_clock_skew")]
    assert abs(float(line.split()[1]) - HOUR) < 60
    control.ahead = 0
    node.wait_for(lambda: not warnings(node))


def test_a_token_that_seems_to_have_expired_is_put_off_and_not_refused(
    node: Worker, control: ControlDouble
) -> None:
    agent = node.agent
    now = int(time.time())
    expired = agent.mint(iat=now - 600, nbf=now - 600, exp=now - 300, session_deadline=now - 300)
    headers = {"Authorization": f"Bearer {expired}"}

    def sent() -> requests.Response:
        url = f"{agent.url}/api/internal/upload/a.bin"
        return requests.put(url, b"x", headers=headers, timeout=60)

    assert slug_of(sent()) == "token-expired"
    node.start()
    node.wait_for(lambda: warnings(node))
    put_off = sent()
    assert (put_off.status_code, slug_of(put_off)) == (503, "clock-off")
    assert "Retry-After" in put_off.headers
    control.ahead = 0
    node.wait_for(lambda: not warnings(node))
    assert slug_of(sent()) == "token-expired"


def test_an_upload_does_not_end_by_a_clock_that_is_ahead(
    node: Worker, control: ControlDouble
) -> None:
    agent = node.agent
    now = int(time.time())
    token = agent.mint(size=10, name="b.bin", session_deadline=now + 600)
    headers = {"Authorization": f"Bearer {token}", "Tus-Resumable": "1.0.0"}
    created = requests.post(
        f"{agent.url}/api/v1/uploads", headers={**headers, "Upload-Length": "10"}, timeout=60
    )
    assert created.status_code == 201, created.text
    upload = created.headers["Location"]
    node.change("UPDATE uploads SET deadline = ?", now - 600)
    node.start()
    node.wait_for(lambda: warnings(node))
    asked = requests.head(upload, headers=headers, timeout=60)
    # 423: tus-js-client asks again, and begins nothing new.
    assert asked.status_code == 423
    assert node.rows("SELECT state FROM uploads") == [("OPEN",)]
    control.ahead = 0
    node.wait_for(lambda: not warnings(node))
    assert requests.head(upload, headers=headers, timeout=60).status_code == 410


def test_what_waited_for_a_moment_of_the_future_is_tried_when_the_worker_starts(
    node: Worker, control: ControlDouble
) -> None:
    node.start()
    node.wait_for(lambda: node.report().heartbeats.answered)
    node.stop()
    assert node.agent.put("a.bin", b"x").status_code == 201
    tomorrow = int(time.time()) + 86400
    node.change(
        "INSERT INTO pushes (file_id, target, own, state, due, ordered_at) "
        "SELECT file_id, 's02', 1, 'WAITING', ?1, ?1 FROM files",
        tomorrow,
    )
    report = node.report().model_copy(update={"time": float(tomorrow)})
    node.report_path.write_text(report.model_dump_json())
    node.start()
    node.wait_for(lambda: node.rows("SELECT 1 FROM pushes WHERE attempts > 0"))
