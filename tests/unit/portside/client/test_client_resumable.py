"""Resumable uploads against a node that cuts, is full, forgets and lies."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside.client import (
    AlreadyRunning,
    LocalFileError,
    NodeUnavailable,
    ReceiptRefused,
    Refused,
    UploadClient,
    UploadGone,
    Watcher,
    put_resumable,
)
from portside.client.http import retry
from portside.client.upload import hashing, state
from portside.client.upload.body import OpenFile
from portside.client.upload.hashing import ContentHash
from portside.client.upload.parallel import part_size_for, ranges
from tests.support.client.node_double import Handler, NodeDouble
from tests.support.client.tokens import token
from tests.support.client.tus_double import (
    UPLOADS_PATH,
    Fault,
    claim_offset,
    cut_after,
    hang_up,
    lose_answer,
    refuse,
)
from tests.support.loopback import wait_until

MIB = 1024 * 1024
GIB = 1024 * MIB


class Heard(Watcher):
    """Remembers everything."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def sent(self, count: int) -> None:
        self.events.append(("sent", count))

    def back_at(self, count: int) -> None:
        self.events.append(("back at", count))

    def waiting(self, seconds: float, reason: NodeUnavailable) -> None:
        self.events.append(("waiting", (seconds, str(reason))))

    def say(self, text: str) -> None:
        self.events.append(("said", text))

    def all(self, what: str) -> list[Any]:
        return [value for kind, value in self.events if kind == what]


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as long as a test can bear."""
    monkeypatch.setattr(retry, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.002)


@pytest.fixture
def client(node: NodeDouble) -> Iterator[UploadClient]:
    made = UploadClient(node.url)
    yield made
    made.close()


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """No multiple of anything."""
    path = tmp_path / "x.iso"
    path.write_bytes(os.urandom(5 * MIB + 17))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Enough for several parts of the smallest size."""
    path = tmp_path / "large.iso"
    path.write_bytes(os.urandom(40 * MIB + 5))
    return path


class Minter:
    """Makes tokens, and counts them."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self) -> str:
        self.made.append(token())
        return self.made[-1]


@pytest.fixture
def mint() -> Minter:
    return Minter()


def state_files() -> list[Path]:
    folder = state.state_folder()
    return sorted(folder.iterdir()) if folder.exists() else []


def whole_of(node: NodeDouble) -> bytes:
    """What the node stored last."""
    return bytes(next(u for u in reversed(node.tus.uploads.values()) if u.stored).data)


def interrupted_after(count: int) -> Watcher:
    """Ends the run like Ctrl-C once this many bytes were sent."""

    class Interrupting(Watcher):
        def sent(self, sent: int) -> None:
            if sent >= count:
                raise KeyboardInterrupt

    return Interrupting()


def requests_of(node: NodeDouble, method: str) -> list[dict[str, str]]:
    return [headers for made, _, headers in node.requests if made == method]


# -- without a cut ---------------------------------------------------------------------------------


def test_an_upload_without_a_cut_is_one_request_to_begin_and_one_with_the_bytes(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    stored = put_resumable(client, file, mint, watcher=heard)
    assert whole_of(node) == file.read_bytes()
    assert stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert [method for method, _, _ in node.requests] == ["GET", "POST", "PATCH"]
    assert node.tus.received == file.stat().st_size
    assert heard.all("sent") == [*(n * MIB for n in range(1, 6)), 5 * MIB + 17]
    assert state_files() == []


def test_an_empty_file_is_stored(
    node: NodeDouble, client: UploadClient, tmp_path: Path, mint: Minter
) -> None:
    (tmp_path / "empty.bin").touch()
    assert put_resumable(client, tmp_path / "empty.bin", mint, parallel=4).size == 0


def test_a_name_that_is_no_unicode_is_refused_here(client: UploadClient, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.iso")
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="no valid Unicode"):
        put_resumable(client, path, token())


def test_a_digest_known_ahead_is_announced_where_the_upload_begins(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    put_resumable(client, file, mint, sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    assert requests_of(node, "POST")[0]["repr-digest"].startswith("sha-256=:")


# -- cuts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, MIB, 3 * MIB + 5, 5 * MIB + 16])
def test_a_cut_at_any_byte_is_mended_and_no_byte_is_taken_twice(
    at: int, node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    node.tus.faults = [cut_after(at)]
    put_resumable(client, file, mint, watcher=heard)
    assert whole_of(node) == file.read_bytes()
    assert node.tus.received == file.stat().st_size
    assert heard.all("back at") == [at]
    assert len(heard.all("waiting")) == 1
    assert len(mint.made) == 1


def test_progress_goes_back_to_what_the_node_holds(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    node.tus.faults = [cut_after(MIB + 3)]
    put_resumable(client, file, mint, watcher=heard)
    at = heard.events.index(("back at", MIB + 3))
    assert heard.events[at - 1][0] == "waiting"
    assert heard.events[at + 1] == ("sent", 2 * MIB + 3)


@pytest.mark.parametrize(
    "fault",
    [
        refuse("PATCH", 500, "internal-error"),
        refuse("PATCH", 503, "no-slot"),
        refuse("PATCH", 423, "upload-locked"),
        refuse("PATCH", 409, "offset-mismatch"),
        refuse("PATCH", 429, "rate-limited"),
        refuse("POST", 502, "no-problem"),
        refuse("POST", 503, "no-slot", {"Retry-After": "0"}),
        lose_answer("POST"),
        lose_answer("PATCH"),
    ],
)
def test_what_passes_is_waited_for(
    fault: Fault, node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    node.tus.faults = [fault]
    stored = put_resumable(client, file, mint, watcher=heard)
    assert stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert node.tus.received == file.stat().st_size
    assert len(heard.all("waiting")) == 1
    assert node.tus.faults == []


def test_an_answer_that_a_full_node_gives_tells_how_long_to_wait(
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("portside.client.http.retry.time.sleep", slept.append)
    node.tus.faults = [
        refuse("PATCH", 503, "no-slot", {"Retry-After": "7"}),
        refuse("PATCH", 503, "no-slot", {"Retry-After": "100000"}),
    ]
    put_resumable(client, file, mint, watcher=heard)
    assert slept == [seconds for seconds, _ in heard.all("waiting")]
    assert 7 <= slept[0] <= 10.5
    assert 90 <= slept[1] <= 135


def test_a_node_that_brings_no_new_byte_in_ten_attempts_is_given_up(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    node.tus.faults = [cut_after(MIB), *(cut_after(0) for _ in range(20))]
    with pytest.raises(NodeUnavailable, match="given up after 10 attempts without a new byte"):
        put_resumable(client, file, mint, watcher=heard)
    # The first cut came with a new mebibyte: it doesn't count.
    assert len(heard.all("waiting")) == 10
    assert len(state_files()) == 1


def test_a_node_that_brings_a_byte_each_time_is_never_given_up(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    node.tus.faults = [cut_after(1) for _ in range(25)]
    put_resumable(client, file, mint)
    assert whole_of(node) == file.read_bytes()


def test_pauses_grow_and_are_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    slept: list[float] = []
    waiting = retry.Patience(lambda seconds, reason: None, slept.append)
    reason = NodeUnavailable("gone")
    with pytest.raises(NodeUnavailable, match="given up"):
        for _ in range(20):
            waiting.wait(reason)
    assert len(slept) == 9
    for number, pause in enumerate(slept):
        most = min(0.5 * 2**number, 30)
        assert most / 2 <= pause <= most


@pytest.mark.parametrize(("status", "slug"), [(507, "no-space")])
def test_what_doesnt_pass_by_itself_isnt_waited_for(
    status: int,
    slug: str,
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    heard: Heard,
) -> None:
    node.tus.faults = [refuse("POST", status, slug)]
    with pytest.raises(NodeUnavailable, match=slug):
        put_resumable(client, file, mint, watcher=heard)
    assert heard.all("waiting") == []


def test_a_refusal_is_final_and_leaves_nothing_to_go_on_with(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    node.tus.faults = [refuse("PATCH", 415, "type-refused")]
    with pytest.raises(Refused, match="type-refused"):
        put_resumable(client, file, mint)
    assert state_files() == []


def test_a_node_that_doesnt_know_the_issuer_may_be_told_later(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    node.tus.faults = [cut_after(3 * MIB), refuse("HEAD", 401, "token-unknown-key")]
    with pytest.raises(Refused, match="401"):
        put_resumable(client, file, mint)
    put_resumable(client, file, mint)
    assert node.tus.received == file.stat().st_size


# -- uploads that are gone -------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "slug"), [(404, "upload-unknown"), (410, "upload-expired")])
def test_an_upload_that_is_gone_is_begun_again_once(
    status: int,
    slug: str,
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    heard: Heard,
) -> None:
    node.tus.faults = [refuse("PATCH", status, slug)]
    put_resumable(client, file, mint, watcher=heard)
    assert len(mint.made) == 2
    assert any("starting over" in text for text in heard.all("said"))
    node.tus.faults = [refuse("PATCH", status, slug), refuse("PATCH", status, slug)]
    with pytest.raises(UploadGone, match=slug):
        put_resumable(client, file, mint)
    assert state_files() == []


def test_an_upload_that_is_gone_is_told_of_where_the_token_was_given(
    node: NodeDouble, client: UploadClient, file: Path
) -> None:
    node.tus.faults = [refuse("PATCH", 404, "upload-unknown")]
    with pytest.raises(UploadGone, match="ask for a new token"):
        put_resumable(client, file, token())


# -- nodes that lie --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([cut_after(2 * MIB), claim_offset(str(41 * MIB))], "claims to hold 42991616 bytes: more"),
        # More than the sockets hold of what was sent in vain.
        ([refuse("PATCH", 503, "no-slot"), claim_offset(str(40 * MIB))], "were ever sent"),
    ],
)
def test_an_offset_of_bytes_that_were_never_sent_is_a_lie(
    faults: list[Fault],
    message: str,
    node: NodeDouble,
    client: UploadClient,
    large: Path,
    mint: Minter,
) -> None:
    node.tus.faults = faults
    with pytest.raises(ReceiptRefused, match=message):
        put_resumable(client, large, mint)
    assert state_files() == []


def test_a_node_that_never_takes_a_byte_is_given_up(
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def take_nothing(handler: Handler, upload: Any) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.answer(204, "", {"Upload-Offset": "0"})

    monkeypatch.setattr(node.tus, "_patch", take_nothing)
    with pytest.raises(NodeUnavailable, match="took none of"):
        put_resumable(client, file, mint)


@pytest.mark.parametrize("offset", ["", "-1", "1e3", "٣"])
def test_what_is_no_offset_is_no_node(
    offset: str, node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    encoded = offset.encode().decode("latin-1")
    node.tus.faults = [cut_after(5), *(claim_offset(encoded) for _ in range(20))]
    with pytest.raises(NodeUnavailable, match="tells no offset"):
        put_resumable(client, file, mint)


def test_the_token_never_follows_a_location_elsewhere(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    elsewhere = NodeDouble()
    try:
        node.tus.host = elsewhere.url
        with pytest.raises(NodeUnavailable, match="the token doesn't go there"):
            put_resumable(client, file, mint)
        assert not elsewhere.requests
    finally:
        elsewhere.close()


@pytest.mark.parametrize("location", ["", "/", "/api/v1/files/x", f"{UPLOADS_PATH}/../files"])
def test_a_location_that_is_no_upload_is_no_node(
    location: str,
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        node.tus,
        "_created",
        lambda handler, place: handler.answer(201, "", {"Location": location}),
    )
    with pytest.raises(NodeUnavailable, match="is this a node"):
        put_resumable(client, file, mint)


def test_a_relative_location_is_on_this_node(
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    mint: Minter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        node.tus,
        "_created",
        lambda handler, place: handler.answer(201, "", {"Location": place}),
    )
    assert put_resumable(client, file, mint).size == file.stat().st_size


def test_bytes_that_differ_from_the_files_are_found_out_at_the_receipt(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    def damage(handler: Handler) -> bool:
        if handler.command == "HEAD":
            node.tus.uploads[handler.path].data[0] ^= 1
        return False

    node.tus.faults = [cut_after(2 * MIB), damage]
    with pytest.raises(ReceiptRefused, match="SHA-256"):
        put_resumable(client, file, mint)


# -- several runs ----------------------------------------------------------------------------------


def test_a_second_run_sends_only_what_is_missing_and_hashes_the_rest_again(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    (noted,) = state_files()
    assert noted.stat().st_mode & 0o777 == 0o600
    assert noted.parent.stat().st_mode & 0o777 == 0o700
    client.close()
    # What was in flight arrives before the run is followed by another.
    node.settle()
    held = node.tus.received
    assert held > 2 * MIB
    stored = put_resumable(client, file, mint, watcher=heard)
    assert stored.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert node.tus.received == file.stat().st_size
    assert heard.all("said") == [f"resuming at {100 * held // file.stat().st_size} %"]
    assert heard.all("back at") == [held]
    assert len(mint.made) == 1
    assert state_files() == []


def test_the_token_is_noted_before_the_first_byte_and_shown_nowhere(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    noted: list[state.UploadState] = []

    class Reading(Watcher):
        def sent(self, count: int) -> None:
            (path,) = state_files()
            noted.append(state.UploadState.model_validate_json(path.read_bytes()))

    put_resumable(client, file, mint, watcher=Reading())
    assert noted[0].token == mint.made[0]
    assert noted[0].places == tuple(node.tus.uploads)
    assert mint.made[0] not in repr(noted[0])


@pytest.mark.parametrize("change", ["size", "time", "another file"])
def test_a_file_that_changed_between_two_runs_is_begun_anew(
    change: str, node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    if change == "size":
        with file.open("ab") as grown:
            grown.write(b"more")
    elif change == "time":
        os.utime(file, ns=(1, 1))
    else:
        times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
        file.rename(file.with_name("old"))
        file.write_bytes(os.urandom(5 * MIB + 17))
        os.utime(file, ns=times)
    client.close()
    (old,) = node.tus.uploads
    put_resumable(client, file, mint, watcher=heard)
    assert whole_of(node) == file.read_bytes()
    assert heard.all("said") == ["has changed since an earlier run: starting anew"]
    assert len(mint.made) == 2
    # Its space is given back at once.
    assert old not in node.tus.uploads


@pytest.mark.parametrize("kept", ["every nanosecond", "each second", "every other second"])
def test_a_file_on_a_disk_that_was_mounted_anew_is_gone_on_with(
    kept: str, node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    """Its number is another, and its time is what the filesystem has kept of it."""
    moment = 1_700_000_001_123_456_789
    os.utime(file, ns=(moment, moment))
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    content = file.read_bytes()
    file.rename(file.with_name("old"))
    file.write_bytes(content)
    units = {"every nanosecond": 1, "each second": 10**9, "every other second": 2 * 10**9}
    moment -= moment % units[kept]
    os.utime(file, ns=(moment, moment))
    client.close()
    node.settle()
    put_resumable(client, file, mint, watcher=heard)
    assert whole_of(node) == content
    assert len(mint.made) == 1
    assert "resuming at" in heard.all("said")[0]


def test_a_state_of_an_earlier_release_is_gone_on_with(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    (noted,) = state_files()
    facts = json.loads(noted.read_bytes())
    del facts["sample"]
    noted.write_text(json.dumps(facts))
    client.close()
    node.settle()
    put_resumable(client, file, mint, watcher=heard)
    assert len(mint.made) == 1


def test_another_namespace_is_another_upload(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter, heard: Heard
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, kind=("a",), watcher=interrupted_after(3 * MIB))
    put_resumable(client, file, mint, kind=("b",), watcher=heard)
    assert heard.all("said") == []
    assert len(state_files()) == 1


def test_a_given_token_goes_on_without_a_state_file(
    node: NodeDouble,
    client: UploadClient,
    file: Path,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    given = token()
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, given, watcher=interrupted_after(3 * MIB))
    client.close()
    node.settle()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another machine"))
    put_resumable(client, file, given, watcher=heard)
    assert node.tus.received == file.stat().st_size
    assert "resuming at" in heard.all("said")[0]


def test_a_token_that_has_stored_this_file_is_a_success(
    node: NodeDouble, client: UploadClient, file: Path
) -> None:
    given = token()
    first = put_resumable(client, file, given)
    assert put_resumable(client, file, given) == first
    assert node.tus.received == file.stat().st_size


def test_a_second_process_at_the_same_file_is_turned_away(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    held, released = threading.Event(), threading.Event()

    class Holding(Watcher):
        def sent(self, count: int) -> None:
            held.set()
            assert released.wait(60)

    # Locks belong to the open file, not to the process: a thread stands for one.
    first = threading.Thread(
        target=put_resumable, args=(client, file, mint), kwargs={"watcher": Holding()}
    )
    first.start()
    second = UploadClient(node.url)
    try:
        assert held.wait(60)
        with pytest.raises(AlreadyRunning, match="another process"):
            put_resumable(second, file, mint)
    finally:
        released.set()
        first.join()
        second.close()
    assert len(mint.made) == 1
    assert state_files() == []


def _with_state(noted: state.UploadState, name: str) -> Path:
    folder = state.state_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(noted.model_dump_json())
    return path


def _noted(deadline: float) -> state.UploadState:
    return state.UploadState(
        path="/x",
        size=1,
        changed_at=1,
        inode=1,
        node="https://s01.example.net",
        namespace="isos",
        token="a.b.c",
        deadline=int(deadline),
    )


def test_what_nobody_can_use_any_more_is_removed_at_the_next_use(
    client: UploadClient, file: Path, mint: Minter
) -> None:
    over = _with_state(_noted(time.time() - 1), "a.json")
    valid = _with_state(_noted(time.time() + 60), "b.json")
    broken = valid.with_name("c.json")
    broken.write_text("{")
    half = valid.with_name("d.json.00000000.new")
    half.write_text("{")
    foreign = valid.with_name("README")
    foreign.touch()
    put_resumable(client, file, mint)
    assert not over.exists()
    assert not broken.exists()
    assert not half.exists()
    assert state_files() == [foreign, valid]


@pytest.mark.parametrize("content", ["", "{}", "\0", '{"places": ["https://evil.test/"]}'])
def test_a_state_file_that_says_nothing_is_no_obstacle(
    content: str, node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    (noted,) = state_files()
    noted.write_text(content)
    put_resumable(client, file, mint)
    assert len(mint.made) == 2


def test_a_noted_place_that_is_no_uploads_is_never_asked(
    node: NodeDouble, client: UploadClient, file: Path, mint: Minter
) -> None:
    with pytest.raises(KeyboardInterrupt):
        put_resumable(client, file, mint, watcher=interrupted_after(3 * MIB))
    (path,) = state_files()
    noted = state.UploadState.model_validate_json(path.read_bytes())
    path.write_text(noted.model_copy(update={"places": ("@evil.test/x",)}).model_dump_json())
    put_resumable(client, file, mint)
    assert len(mint.made) == 2


def test_a_folder_that_cant_be_written_is_told_with_a_way_out(
    client: UploadClient, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    with pytest.raises(LocalFileError, match="--no-resume"):
        put_resumable(client, file, token())


def test_a_relative_state_home_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "somewhere")
    assert state.state_folder() == Path.home() / ".local/state/portside/uploads"


# -- files that change -----------------------------------------------------------------------------


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(
    parallel: int, node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    class Changing(Watcher):
        def sent(self, count: int) -> None:
            os.utime(large, ns=(1, 1))

    with pytest.raises(LocalFileError, match="changed while it was being sent"):
        put_resumable(client, large, mint, parallel=parallel, watcher=Changing())
    assert not any(upload.stored for upload in node.tus.uploads.values())


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [2, 4, 16])
@pytest.mark.parametrize("size", [1, 8 * MIB, 100 * MIB + 1, 5 * GIB, 64 * GIB, 3 * 1024 * GIB])
def test_parts_cover_the_file_and_fit_into_one_request(workers: int, size: int) -> None:
    part_size = part_size_for(size, workers)
    found = ranges(size, part_size)
    assert part_size % 4096 == 0
    assert part_size >= 8 * MIB
    assert [start for start, _ in found] == [0, *(end for _, end in found[:-1])]
    assert found[-1][1] == size
    assert len(found) <= 100
    if 64 * 8 * MIB <= size <= 64 * GIB:
        assert len(found) >= 4 * workers
        assert part_size <= GIB


def test_parts_are_created_in_file_order_before_the_first_byte_and_joined_in_that_order(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter, heard: Heard
) -> None:
    stored = put_resumable(client, large, mint, parallel=4, watcher=heard)
    assert whole_of(node) == large.read_bytes()
    assert stored.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    methods = [method for method, _, _ in node.requests]
    assert methods == ["GET", *["POST"] * 6, *["PATCH"] * 6, "POST"]
    parts = [place for place, upload in node.tus.uploads.items() if upload.part]
    assert requests_of(node, "POST")[-1]["upload-concat"] == "final;" + " ".join(parts)
    assert [node.tus.uploads[place].length for place in parts] == [8 * MIB] * 5 + [5]
    assert heard.all("sent")[-1] == large.stat().st_size
    assert sorted(heard.all("sent")) == heard.all("sent")
    assert state_files() == []


def test_parts_are_begun_in_file_order(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    def heard_of() -> list[str]:
        return [path for method, path, _ in node.requests if method == "PATCH"]

    def after_the_earlier_ones(handler: Handler) -> bool:
        parts = [place for place, upload in node.tus.uploads.items() if upload.part]
        if handler.command == "PATCH":
            # Its connection may be slower than the other, which must not be parts ahead of it.
            earlier = set(parts[: parts.index(handler.path)])
            wait_until(lambda: earlier <= set(heard_of()), 10)
        return False

    node.tus.faults = [after_the_earlier_ones]
    put_resumable(client, large, mint, parallel=2)
    parts = [place for place, upload in node.tus.uploads.items() if upload.part]
    for number, place in enumerate(heard_of()):
        # Two are begun at once, and either of them may be heard first.
        assert abs(parts.index(place) - number) <= 1


def test_each_part_mends_its_own_cuts(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter, heard: Heard
) -> None:
    node.tus.faults = [cut_after(n * MIB + 7) for n in (3, 1, 6)]
    node.tus.faults += [lose_answer("PATCH"), refuse("PATCH", 503, "no-slot")]
    put_resumable(client, large, mint, parallel=3, watcher=heard)
    assert whole_of(node) == large.read_bytes()
    assert node.tus.received == large.stat().st_size
    assert all(0 <= count <= large.stat().st_size for count in heard.all("sent"))


def test_a_lost_answer_to_the_final_request_is_asked_for_again(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    node.tus.faults = [lose_answer("POST", "final;")]
    put_resumable(client, large, mint, parallel=2)
    assert sum("final;" in h.get("upload-concat", "") for h in requests_of(node, "POST")) == 2


def test_a_second_run_sends_only_the_parts_and_bytes_that_are_missing(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter, heard: Heard
) -> None:
    given = token()

    def gone(handler: Handler) -> bool:
        if handler.command != "PATCH" or node.tus.received < 20 * MIB:
            return False
        node.tus.faults.append(gone)
        hang_up(handler)
        return True

    node.tus.faults = [gone]
    with pytest.raises(NodeUnavailable, match="given up"):
        put_resumable(client, large, given, parallel=2)
    held = node.tus.received
    assert 20 * MIB <= held < large.stat().st_size
    node.tus.faults = []
    node.requests.clear()
    stored = put_resumable(client, large, given, watcher=heard)
    assert stored.sha256 == hashlib.sha256(large.read_bytes()).hexdigest()
    assert whole_of(node) == large.read_bytes()
    assert node.tus.received == large.stat().st_size
    assert heard.all("said") == [f"resuming at {100 * held // large.stat().st_size} %"]
    assert len(requests_of(node, "POST")) == 1


def test_parts_whose_creation_was_interrupted_are_given_back_and_begun_anew(
    node: NodeDouble,
    client: UploadClient,
    large: Path,
    mint: Minter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write = state.StateFile.write

    def interrupted(self: state.StateFile[state.UploadState], noted: state.UploadState) -> None:
        if len(noted.places) == 4:
            raise KeyboardInterrupt
        write(self, noted)

    with monkeypatch.context() as patch:
        patch.setattr(state.StateFile, "write", interrupted)
        with pytest.raises(KeyboardInterrupt):
            put_resumable(client, large, mint, parallel=2)
    assert len(node.tus.uploads) == 4
    put_resumable(client, large, mint, parallel=2)
    assert len(mint.made) == 2
    assert whole_of(node) == large.read_bytes()
    # The fourth was created unheard: the node removes it at its deadline.
    assert len([upload for upload in node.tus.uploads.values() if upload.part]) == 1 + 6


def test_a_part_whose_creation_was_not_heard_of_is_created_once(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    node.tus.faults = [lose_answer("POST")]
    put_resumable(client, large, mint, parallel=2)
    assert len(mint.made) == 1
    lengths = [upload.length or 0 for upload in node.tus.uploads.values() if upload.part]
    assert sum(lengths) == large.stat().st_size
    assert whole_of(node) == large.read_bytes()


def test_a_refusal_of_one_part_ends_the_others_at_once(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    node.tus.faults = [refuse("PATCH", 415, "type-refused")]
    started = time.monotonic()
    with pytest.raises(Refused, match="type-refused"):
        put_resumable(client, large, mint, parallel=4)
    assert time.monotonic() - started < 60
    assert not any(thread.name.startswith("part-") for thread in threading.enumerate())


def test_one_wait_of_all_workers_is_told_once(
    node: NodeDouble,
    client: UploadClient,
    large: Path,
    mint: Minter,
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All four are refused within it.
    monkeypatch.setattr(retry, "SHORTEST_PAUSE", 3)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 3)
    node.tus.faults = [refuse("PATCH", 503, "no-slot") for _ in range(4)]
    put_resumable(client, large, mint, parallel=4, watcher=heard)
    assert len(heard.all("waiting")) == 1


def test_a_part_that_one_worker_gives_up_is_taken_by_the_others(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter
) -> None:
    def no_slot_for_the_last_part(handler: Handler) -> bool:
        if handler.command != "PATCH" or handler.path != list(node.tus.uploads)[-1]:
            return False
        return refuse("PATCH", 503, "no-slot")(handler)

    node.tus.faults = [no_slot_for_the_last_part] * retry.ATTEMPTS
    put_resumable(client, large, mint, parallel=2)
    assert node.tus.faults == []
    assert whole_of(node) == large.read_bytes()


def test_an_interrupted_upload_in_parts_ends_at_once_and_can_be_resumed(
    node: NodeDouble, client: UploadClient, large: Path, mint: Minter, heard: Heard
) -> None:
    begun, interrupting = threading.Event(), threading.Event()

    class Slow(Watcher):
        def sent(self, count: int) -> None:
            begun.set()
            assert interrupting.wait(60)
            time.sleep(0.2)

    with pytest.MonkeyPatch.context() as patch:
        join = threading.Thread.join

        def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
            if timeout is None and thread.name.startswith("part-"):
                assert begun.wait(60)
                interrupting.set()
                raise KeyboardInterrupt
            join(thread, timeout)

        patch.setattr(threading.Thread, "join", interrupted)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            put_resumable(client, large, mint, parallel=4, watcher=Slow())
        assert time.monotonic() - started < 60
        # Four parts had begun: none of them was sent to its end.
        assert node.tus.received < 2 * 8 * MIB
    assert not any(thread.name.startswith("part-") for thread in threading.enumerate())
    client.close()
    node.settle()
    put_resumable(client, large, mint, parallel=4, watcher=heard)
    assert "resuming at" in heard.all("said")[0]
    assert len(mint.made) == 1
    assert node.tus.received == large.stat().st_size


# -- the digest ------------------------------------------------------------------------------------


def test_the_digest_runs_no_further_ahead_than_it_is_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "READ_AHEAD", MIB)
    path = tmp_path / "x"
    path.write_bytes(os.urandom(20 * MIB + 3))
    read: list[int] = []
    blocks = OpenFile.blocks

    def noting(self: OpenFile, start: int, end: int) -> Iterator[memoryview]:
        read.append(end)
        return blocks(self, start, end)

    monkeypatch.setattr(OpenFile, "blocks", noting)
    with OpenFile(path) as opened, ContentHash(opened) as content:
        content.allow(4 * MIB)
        wait_until(lambda: read and read[-1] >= 5 * MIB)
        time.sleep(0.05)
        assert max(read) == 5 * MIB
        assert content.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("parallel", [1, 4])
def test_the_digest_is_not_left_for_the_end(
    parallel: int,
    node: NodeDouble,
    client: UploadClient,
    large: Path,
    mint: Minter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hashing, "READ_AHEAD", 0)
    size, read = large.stat().st_size, [0]
    blocks = OpenFile.blocks

    def noting(self: OpenFile, start: int, end: int) -> Iterator[memoryview]:
        yield from blocks(self, start, end)
        if threading.current_thread().name == "sha256":
            read.append(end)

    def answer_when_hashed(handler: Handler) -> bool:
        if parallel == 1 and handler.command == "PATCH":
            (upload,) = node.tus.uploads.values()
            node.tus.receive(handler, upload, size)
            handler.headers.replace_header("Content-Length", "0")
            handler.headers.replace_header("Upload-Offset", str(size))
        if (handler.command == "PATCH" and parallel == 1) or "final;" in str(handler.headers):
            wait_until(lambda: max(read) >= size, 30)
            hashed.append(max(read))
        return False

    hashed: list[int] = []
    monkeypatch.setattr(OpenFile, "blocks", noting)
    node.tus.faults = [answer_when_hashed]
    put_resumable(client, large, mint, parallel=parallel)
    assert hashed == [size]
