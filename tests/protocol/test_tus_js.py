"""tus-js-client, which browsers use, stores files and resumes them without knowing Portside."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portside.quantities import MIB
from tests.support.agent.process import SMALL_NODE, Agent
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import Tus

NODE_SECONDS = 120
_RETRY_DELAYS = [50, 100, 200, 400, *(60 * [1000])]


class Client:
    """One run of tus-js-client in a process of its own."""

    def __init__(self, script: Path, ca: Path | None, wish: dict[str, Any]) -> None:
        environment = {**os.environ, **({"NODE_EXTRA_CA_CERTS": str(ca)} if ca else {})}
        # A computer may know itself as ::1 first, where nobody listens.
        command = ["node", "--dns-result-order=ipv4first", str(script), json.dumps(wish)]
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._timer = threading.Timer(NODE_SECONDS, self._process.kill)
        self._timer.start()
        self.asked: list[str] = []
        """The methods of its requests, answered or not."""
        self.requests: list[tuple[str, int]] = []
        """Its requests that were answered, with the answers' statuses."""

    def next(self) -> dict[str, Any]:
        """What it says next that isn't about a single request."""
        while (said := self._said()) is None:
            continue
        return said

    def listen_until(self, heard: Callable[[], bool]) -> None:
        """Listen to what it says about its requests."""
        while not heard():
            assert (said := self._said()) is None, said

    def _said(self) -> dict[str, Any] | None:
        """One line of it, None for one about a request."""
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise AssertionError(f"the client ended: {self._process.communicate()[1]}")
        said: dict[str, Any] = json.loads(line)
        if "asking" in said:
            self.asked.append(said["asking"])
        elif "method" in said:
            self.requests.append((said["method"], said["status"]))
        else:
            return said
        return None

    def go_on(self) -> None:
        """Let a client go on that holds."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """How it ended."""
        try:
            return self.next()
        finally:
            self.end()

    def end(self) -> None:
        """Wait until the process is gone."""
        self._timer.cancel()
        self._process.kill()
        self._process.communicate()


Run = Callable[..., Client]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """11 MiB and a bit: several chunks, none of them whole."""
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(11 * MIB + 12_345))
    return path


@pytest.fixture
def run(node: Node, tus_js: Path, source: Path) -> Iterator[Run]:
    """Starts tus-js-client with a talker's token through nginx, or straight to an agent."""
    started: list[Client] = []

    def start(talker: Tus, straight_to: Agent | None = None, **wish: Any) -> Client:
        base = node.url if straight_to is None else straight_to.url
        wish = {
            "endpoint": f"{base}/api/v1/uploads",
            "token": talker.token,
            "file": str(source),
            **wish,
        }
        started.append(Client(tus_js, node.ca, wish))
        return started[-1]

    yield start
    for client in started:
        client.end()


def check_sent(talker: Tus, result: dict[str, Any], content: bytes) -> None:
    """The client's last answer, or one more question, tells of the file."""
    body = result["body"] or talker.create(len(content)).text
    check_stored(talker, body, content)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(node: Node) -> Iterator[None]:
    yield
    check_nothing_left_behind(node.agent)


@pytest.mark.parametrize(
    ("wish", "methods"),
    [
        pytest.param({}, ["POST", "PATCH"], id="plain"),
        pytest.param(
            {"options": {"uploadDataDuringCreation": True}}, ["POST"], id="data during creation"
        ),
        pytest.param(
            {"options": {"chunkSize": 5 * MIB}}, ["POST"] + 3 * ["PATCH"], id="chunks of 5 MiB"
        ),
        pytest.param(
            {"options": {"chunkSize": 5 * MIB, "uploadDataDuringCreation": True}},
            ["POST"] + 2 * ["PATCH"],
            id="the first chunk during creation",
        ),
        pytest.param(
            {"options": {"overridePatchMethod": True, "chunkSize": 6 * MIB}},
            3 * ["POST"],
            id="posts for patches",
        ),
        pytest.param(
            {"stream": True, "options": {"uploadLengthDeferred": True, "chunkSize": 4 * MIB}},
            ["POST"] + 3 * ["PATCH"],
            id="a stream of unknown length",
        ),
        pytest.param(
            {"options": {"parallelUploads": 4}},
            5 * ["POST"] + 4 * ["PATCH"],
            id="four parts at once",
        ),
        pytest.param(
            {"options": {"parallelUploads": 3, "chunkSize": 1 * MIB}},
            4 * ["POST"] + 12 * ["PATCH"],
            id="three parts in chunks",
        ),
        pytest.param(
            {"options": {"protocol": "ietf-draft-05"}}, ["POST", "PATCH"], id="the IETF draft"
        ),
        pytest.param(
            {"options": {"protocol": "ietf-draft-05", "chunkSize": 5 * MIB}},
            ["POST"] + 3 * ["PATCH"],
            id="the IETF draft in chunks",
        ),
    ],
)
def test_a_file_is_stored_whole_however_it_is_sent(
    node: Node, run: Run, source: Path, wish: dict[str, Any], methods: list[str]
) -> None:
    talker = Tus(node.agent)
    client = run(talker, **wish)
    result = client.result()
    assert result["ok"], result
    assert sorted(method for method, _ in client.requests) == sorted(methods)
    check_sent(talker, result, source.read_bytes())


def test_an_empty_file_is_stored(node: Node, run: Run, source: Path) -> None:
    source.write_bytes(b"")
    talker = Tus(node.agent)
    result = run(talker).result()
    assert result["ok"], result
    check_sent(talker, result, b"")


def test_a_file_without_a_name_in_its_token_takes_the_metadatas(node: Node, run: Run) -> None:
    talker = Tus(node.agent, name=None, layout="named")
    # As Uppy sends them of a file in a folder, to an endpoint as people type it.
    told = {"filename": "海の写真.bin", "filetype": "x/y", "relativePath": 150 * "海の写真/"}
    endpoint = f"{node.url}//api/v1/uploads/"
    run(talker, endpoint=endpoint, options={"metadata": told}).result()
    assert [path.name for path in files_of(talker)] == ["海の写真.bin"]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="one request"),
        pytest.param({"chunkSize": 2 * MIB}, id="chunks"),
        pytest.param({"parallelUploads": 4}, id="four parts"),
    ],
)
def test_an_upload_that_was_aborted_is_resumed_by_a_client_that_starts_anew(
    node: Node, run: Run, source: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    talker = Tus(node.agent)
    wish = {"store": str(tmp_path / "urls.json"), "options": options}
    aborted = run(talker, abortAt=6 * MIB, **wish).result()
    assert aborted["error"] == "aborted"
    assert files_of(talker) == []
    client = run(talker, **wish)
    result = client.result()
    assert result["ok"], result
    assert "HEAD" in [method for method, _ in client.requests]
    # Nothing was begun anew; only a final upload of parts is created.
    creations = [method for method, _ in client.requests].count("POST")
    assert creations == (1 if "parallelUploads" in options else 0)
    check_sent(talker, result, source.read_bytes())


def test_a_token_that_has_expired_still_resumes_until_the_session_ends(
    node: Node, run: Run, source: Path
) -> None:
    talker = Tus(node.agent)
    aborted = run(talker, abortAt=6 * MIB).result()
    expired = talker.again(exp=int(time.time()) - 120)
    assert expired.create(1).status_code == 401
    result = run(expired, options={"uploadUrl": aborted["url"]}).result()
    assert result["ok"], result
    check_sent(talker, result, source.read_bytes())


@pytest.mark.parametrize("behind_nginx", [True, False], ids=["behind nginx", "alone"])
def test_an_agent_that_restarts_in_between_costs_a_retry(
    node: Node, run: Run, make_agent: Callable[..., Agent], source: Path, behind_nginx: bool
) -> None:
    # Behind nginx the client hears 503 meanwhile, alone nothing at all.
    agent = node.agent
    if not behind_nginx:
        agent = make_agent()
        agent.start()
    talker = Tus(agent)
    options = {"chunkSize": 2 * MIB, "retryDelays": _RETRY_DELAYS}
    client = run(
        talker, straight_to=None if behind_nginx else agent, holdAt=4 * MIB, options=options
    )
    assert client.next() == {"holding": 4 * MIB}
    agent.kill()
    client.go_on()
    asked = len(client.asked)
    # A 423 to its HEAD makes the client ask again, where a 503 made it begin anew.
    client.listen_until(
        lambda: ("HEAD", 423) in client.requests if behind_nginx else len(client.asked) > asked
    )
    agent.start()
    result = client.result()
    assert result["ok"], result
    assert ("HEAD", 200) in client.requests
    assert (503 in [status for _, status in client.requests]) == behind_nginx
    assert [method for method, _ in client.requests].count("POST") == 1
    check_sent(talker, result, source.read_bytes())


def test_a_full_node_is_asked_again_by_the_clients_own_rule(
    make_agent: Callable[..., Agent], run: Run, source: Path
) -> None:
    agent = make_agent(sizing=replace(SMALL_NODE, upload_slots=1))
    agent.start()
    other = agent.open_put("other.bin", 1 * MIB)
    agent.wait_for_uploads(1)
    talker = Tus(agent)
    options = {"chunkSize": 4 * MIB, "retryDelays": _RETRY_DELAYS}
    client = run(talker, straight_to=agent, options=options)
    client.listen_until(lambda: 503 in [status for _, status in client.requests])
    other.close()
    result = client.result()
    assert result["ok"], result
    check_sent(talker, result, source.read_bytes())
    check_nothing_left_behind(agent)


def test_an_upload_is_terminated_with_all_that_was_sent(node: Node, run: Run) -> None:
    talker = Tus(node.agent)
    client = run(talker, abortAt=6 * MIB, terminate=True)
    result = client.result()
    assert ("DELETE", 204) in client.requests
    assert talker.head(_path(result["url"])).status_code in (404, 410)
    assert files_of(talker) == []


def _path(url: str) -> str:
    return url[url.index("/api/") :]
