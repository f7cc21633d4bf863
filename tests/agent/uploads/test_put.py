"""`portside put` and its client against a real node: cut, killed, restarted, in parts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from portside.client import NodeUnavailable, Refused, UploadClient, Watcher, put_resumable
from portside.client.http import retry
from portside.client.http.node import NodeClient
from portside.client.upload.state import state_folder
from portside.quantities import MIB
from portside.tokens import SigningKey, mint_upload
from tests.support.agent.process import SMALL_NODE, Agent
from tests.support.logs import whole_lines_of
from tests.support.loopback import wait_until

SIZE = 96 * MIB + 4099
LESS = 20 * MIB + 4099
"""Three parts: enough where no window has to be on disk before something happens."""

WINDOW = SMALL_NODE.sync_window
SLOWLY = """
import signal, sys, time
from portside.cli import main
from portside.client.upload.body import OpenFile

blocks, pause = OpenFile.blocks, float(sys.argv.pop(1))

def slow_blocks(self, start, end):
    for block in blocks(self, start, end):
        yield block
        time.sleep(pause)

OpenFile.blocks = slow_blocks
# Who is started in the background of a shell ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""`portside put` that reads its file slowly: some seconds for what would be over in no time."""


class Heard(Watcher):
    """Remembers what was said, and calls `at` once so many bytes were sent."""

    def __init__(self, at: int = -1, then: Callable[[], None] | None = None) -> None:
        self.said: list[str] = []
        self.back: list[int] = []
        self.waits = 0
        self._at = at
        self._then = then

    def sent(self, count: int) -> None:
        if self._then is not None and count >= self._at:
            then, self._then = self._then, None
            then()

    def back_at(self, count: int) -> None:
        self.back.append(count)

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        self.waits += 1

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def node(make_agent: Callable[..., Agent]) -> Agent:
    """A running agent that knows by which URL it is asked."""
    agent = make_agent()
    settings = agent.home / "agent.toml"
    settings.write_text(settings.read_text().replace("https://s01.portside.test", agent.url))
    agent.start()
    return agent


@pytest.fixture
def client(node: Agent) -> Iterator[UploadClient]:
    made = UploadClient(node.url)
    yield made
    made.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.bin"
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.fixture
def shorter(tmp_path: Path) -> Path:
    path = tmp_path / "shorter.bin"
    path.write_bytes(os.urandom(LESS))
    return path


def mint(node: Agent, file: Path) -> Callable[[], str]:
    return lambda: node.mint(size=file.stat().st_size)


def received(node: Agent) -> int:
    """Bytes of upload bodies in all requests that the node has answered or seen cut."""
    lines = (json.loads(line) for line in whole_lines_of(node.log) if line[:1] == "{")
    return sum(line.get("received", 0) for line in lines if line.get("method") == "PATCH")


def assert_stored(node: Agent, file: Path) -> None:
    """The file is there once, with every byte, and nothing else is."""
    (stored,) = node.visible_files()
    assert stored.read_bytes() == file.read_bytes()
    assert node.leftovers() == []


def restart_after(node: Agent, seconds: float) -> Callable[[], None]:
    """Kills the node at once and starts it again later."""

    def restart() -> None:
        node.kill()
        threading.Timer(seconds, node.launch).start()

    return restart


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_node_that_is_killed_and_started_again_ends_with_every_byte(
    parallel: int, node: Agent, client: UploadClient, file: Path
) -> None:
    heard = Heard(at=SIZE // 2, then=restart_after(node, 0.3))
    stored = put_resumable(client, file, mint(node, file), parallel=parallel, watcher=heard)
    assert stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert_stored(node, file)
    assert heard.waits >= 1
    assert heard.back
    assert list(state_folder().iterdir()) == []


def test_a_killed_node_goes_on_from_what_it_had_on_disk(
    node: Agent, client: UploadClient, file: Path
) -> None:
    heard = Heard(at=3 * SIZE // 4, then=restart_after(node, 0.3))
    put_resumable(client, file, mint(node, file), watcher=heard)
    # Two windows may not have been on disk yet, and a third on its way through the sockets.
    assert 3 * SIZE // 4 - heard.back[0] <= 3 * WINDOW


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_a_client_that_is_killed_goes_on_when_the_same_command_is_given_again(
    parallel: str, node: Agent, file: Path, tmp_path: Path
) -> None:
    with subprocess.Popen(_slow_put(node, file, tmp_path, parallel)) as killed:
        try:
            wait_until(lambda: _staged(node) > SIZE // 2)
        finally:
            killed.send_signal(signal.SIGKILL)
    again = subprocess.run(
        _slow_put(node, file, tmp_path, parallel, seconds=0),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert again.returncode == 0, again.stderr
    assert "resuming at " in again.stderr
    assert "stored and verified" in again.stderr
    assert again.stdout.startswith(f"{node.url}/f/")
    assert_stored(node, file)
    assert received(node) < SIZE + 3 * WINDOW


@pytest.mark.parametrize("parallel", ["1", "4"])
def test_ctrl_c_ends_it_at_once_and_says_how_to_go_on(
    parallel: str, node: Agent, file: Path, tmp_path: Path
) -> None:
    command = _slow_put(node, file, tmp_path, parallel)
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as interrupted:
        try:
            wait_until(lambda: _staged(node) > SIZE // 4)
            interrupted.send_signal(signal.SIGINT)
            _, said = interrupted.communicate(timeout=60)
        finally:
            interrupted.kill()
    assert interrupted.returncode == 130
    assert "x.bin: the same command again goes on from here\n" in said
    assert "Traceback" not in said
    assert len(list(state_folder().iterdir())) == 1


def test_parts_arrive_in_place_and_their_receipt_is_verified(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    stored = put_resumable(client, shorter, mint(node, shorter), parallel=4)
    assert stored.sha256 == hashlib.sha256(shorter.read_bytes()).hexdigest()
    assert_stored(node, shorter)
    assert received(node) == LESS


def test_an_upload_without_a_cut_sends_each_byte_once(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    put_resumable(client, shorter, mint(node, shorter))
    assert_stored(node, shorter)
    assert received(node) == LESS


def test_small_and_empty_files_go_the_same_way(
    node: Agent, client: UploadClient, tmp_path: Path
) -> None:
    for size in (0, 1, 4096):
        path = tmp_path / f"{size}.bin"
        path.write_bytes(os.urandom(size))
        assert put_resumable(client, path, mint(node, path), parallel=2).size == size


@pytest.mark.parametrize("parallel", [1, 4])
def test_a_lost_answer_to_the_last_request_is_made_up_for(
    parallel: int,
    node: Agent,
    client: UploadClient,
    shorter: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is stored, but nobody has heard: the same receipt is given again."""
    lost: list[Any] = []
    request = NodeClient._request

    def losing(self: NodeClient, method: str, *rest: Any, **options: Any) -> Any:
        answer = request(self, method, *rest, **options)
        if not lost and b'"receipt"' in answer.content:
            lost.append(answer.json())
            raise ConnectionResetError(104, "Connection reset by peer")
        return answer

    monkeypatch.setattr(NodeClient, "_request", losing)
    stored = put_resumable(client, shorter, mint(node, shorter), parallel=parallel)
    assert stored.model_dump(mode="json") == lost[0]
    assert_stored(node, shorter)


def test_a_token_of_a_stranger_is_refused_before_a_byte_travels(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    stranger = SigningKey.generate("issuer")
    with pytest.raises(Refused, match="token-unknown-key"):
        put_resumable(client, shorter, mint_upload(stranger, node.claims(size=LESS)))
    assert received(node) == 0


def test_a_file_that_changed_between_two_runs_is_sent_anew_and_the_old_upload_removed(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, shorter, mint(node, shorter), watcher=Heard(LESS // 2, interrupt))
    shorter.write_bytes(os.urandom(LESS - 1))
    heard = Heard()
    put_resumable(client, shorter, mint(node, shorter), watcher=heard)
    assert heard.said == ["has changed since an earlier run: starting anew"]
    assert_stored(node, shorter)


def test_a_node_that_has_lost_the_upload_gets_it_anew(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    def lose() -> None:
        node.kill()
        for path in (node.root / "staging").iterdir():
            path.unlink()
        node.launch()

    heard = Heard(LESS // 2, lose)
    put_resumable(client, shorter, mint(node, shorter), watcher=heard)
    assert any("starting over" in text for text in heard.said)
    assert_stored(node, shorter)


def test_parts_can_be_joined_after_the_token_has_expired_for_new_uploads(
    node: Agent, client: UploadClient, shorter: Path
) -> None:
    # A token may start an upload until 60 seconds after its exp: this one for some more.
    expired = int(time.time()) - 53
    token = node.mint(size=LESS, iat=expired - 1, nbf=expired - 1, exp=expired)

    class UntilItHasExpired(Watcher):
        def sent(self, count: int) -> None:
            time.sleep(max(0.0, expired + 62 - time.time()))

    put_resumable(client, shorter, token, parallel=2, watcher=UntilItHasExpired())
    assert_stored(node, shorter)


def test_a_node_that_stays_away_is_given_up_and_the_upload_can_go_on_later(
    node: Agent, client: UploadClient, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.01)
    with pytest.raises(NodeUnavailable, match="given up after 10 attempts"):
        put_resumable(client, file, mint(node, file), watcher=Heard(SIZE // 2, node.kill))
    node.start()
    heard = Heard()
    put_resumable(client, file, mint(node, file), watcher=heard)
    assert "resuming at" in heard.said[0]
    assert_stored(node, file)


def _slow_put(node: Agent, file: Path, home: Path, parallel: str, seconds: float = 6) -> list[str]:
    """The command that takes at least so long, always with the same token."""
    token = home / "token"
    if not token.exists():
        token.write_text(node.mint(size=SIZE))
    pause = seconds * int(parallel) / (SIZE // MIB)
    command = [sys.executable, "-c", SLOWLY, str(pause), "put", "--url", node.url]
    return [*command, "--token-file", str(token), str(file), "--parallel", parallel]


def _staged(node: Agent) -> int:
    """Bytes that the node says are on disk of uploads under way."""
    index = f"file:{node.root}/state/index.sqlite?mode=ro"
    with closing(sqlite3.connect(index, uri=True)) as database:
        ((total,),) = database.execute("SELECT coalesce(sum(offset), 0) FROM uploads")
    return int(total)
