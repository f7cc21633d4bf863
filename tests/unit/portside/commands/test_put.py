"""`portside put` of files that are large enough to be resumed: what it says, and its exit codes."""

from __future__ import annotations

import io
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from portside.client.http import retry
from portside.client.progress import display
from portside.client.upload.state import state_folder
from portside.commands import put_to_node
from portside.operator.keystore import Keystore
from portside.tokens import verify_upload
from tests.support.client.command import PUT, Run, mint
from tests.support.client.node_double import Handler, NodeDouble
from tests.support.client.tus_double import cut_after, hang_up, refuse

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.002)


@pytest.fixture
def iso(project: Path) -> Path:
    path = project / "x.iso"
    path.write_bytes(os.urandom(20 * MIB + 1))
    return path


def put(node: NodeDouble, *arguments: str, **environment: str) -> Run:
    return Run(*PUT, "--url", node.url, *arguments, **environment)


def methods(node: NodeDouble) -> list[str]:
    return [method for method, _, _ in node.requests]


def stop_at(count: int) -> Callable[[Handler], bool]:
    """From `count` bytes on the node is gone."""

    def gone(handler: Handler) -> bool:
        if handler.command == "GET" or handler.double.tus.received < count:
            return False
        handler.double.tus.faults.append(gone)
        hang_up(handler)
        return True

    return gone


def test_small_files_go_in_one_request_and_large_ones_can_be_resumed(
    node: NodeDouble, keystore: Keystore, iso: Path, project: Path
) -> None:
    (project / "small.iso").write_bytes(bytes(16 * MIB))
    assert put(node, "small.iso").code == 0
    assert methods(node) == ["GET", "PUT"]
    node.requests.clear()
    run = put(node, str(iso))
    assert (run.code, run.out) == (0, "https://s01.portside.test/uploads/isos/x.iso\n")
    assert methods(node) == ["GET", "POST", "PATCH"]
    assert re.search(r"20\.0 MiB stored and verified in \d+s, \d+\.\d MB/s", run.err)


def test_no_resume_sends_a_large_file_in_one_request(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    assert put(node, "--no-resume", str(iso)).code == 0
    assert methods(node) == ["GET", "PUT"]


def test_parallel_sends_parts(node: NodeDouble, keystore: Keystore, iso: Path) -> None:
    assert put(node, "--parallel", "2", str(iso)).code == 0
    assert methods(node) == ["GET", *["POST"] * 3, *["PATCH"] * 3, "POST"]
    # All of them are one trace, whichever thread sends them.
    assert len({headers["traceparent"] for _, _, headers in node.requests}) == 1


@pytest.mark.parametrize(
    "arguments", [("--parallel", "17"), ("--parallel", "0"), ("--parallel", "2", "--no-resume")]
)
def test_what_parallel_cant_be_is_a_usage_error(
    arguments: tuple[str, ...], node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    assert put(node, *arguments, str(iso)).code == 2
    assert not node.requests


def test_a_cut_is_told_with_its_reason_and_the_wait(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB)]
    run = put(node, str(iso))
    assert run.code == 0
    assert re.search(r"x\.iso: .*no connection.*; trying again in 0s\n", run.err)
    assert node.tus.received == iso.stat().st_size


def test_an_upload_that_was_given_up_is_exit_code_4_and_the_same_command_goes_on(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB), stop_at(10 * MIB)]
    run = put(node, str(iso))
    assert (run.code, run.out) == (4, "")
    assert "given up after 10 attempts" in run.err
    node.tus.faults = []
    again = put(node, str(iso))
    assert again.code == 0
    assert "x.iso: resuming at 49 %\n" in again.err
    assert node.tus.received == iso.stat().st_size


def test_ctrl_c_says_that_the_same_command_goes_on(
    node: NodeDouble, keystore: Keystore, iso: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(put_to_node, "put_resumable", interrupt)
    run = put(node, str(iso))
    assert (run.code, run.out) == (130, "")
    assert "x.iso: the same command again goes on from here\n" in run.err
    assert "count the file as not stored" in run.err


def test_several_files_each_have_their_own_upload(
    node: NodeDouble, keystore: Keystore, iso: Path, project: Path
) -> None:
    (project / "y.iso").write_bytes(os.urandom(17 * MIB))
    (project / "z.iso").write_bytes(b"z")
    node.tus.faults = [refuse("PATCH", 415, "type-refused")]
    run = put(node, str(iso), "y.iso", "z.iso")
    assert run.code == 3
    assert run.out.count("https://") == 2
    assert list(state_folder().iterdir()) == []


def test_a_second_command_for_the_same_file_is_exit_code_4(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    runs: list[Run] = []

    def another(handler: Handler) -> bool:
        if handler.command != "PATCH":
            return False
        # From another thread: the double answers one request at a time while it asks its faults.
        second = threading.Thread(target=lambda: runs.append(put(node, str(iso))))
        second.start()
        second.join()
        return False

    node.tus.faults = [another]
    assert put(node, str(iso)).code == 0
    assert runs[0].code == 4
    assert "another process is sending this file to the same place" in runs[0].err


def test_a_checksum_is_worked_out_where_an_upload_begins_and_not_where_it_goes_on(
    node: NodeDouble, keystore: Keystore, iso: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.tus.faults = [cut_after(10 * MIB), stop_at(10 * MIB)]
    run = put(node, "--checksum", str(iso))
    assert "x.iso: 100 %, 20.0 MiB; checksum known\n" in run.err
    token = node.requests[1][2]["authorization"].removeprefix("Bearer ")
    assert verify_upload(token, keystore.keyset(), "s01").sha256 is not None
    node.tus.faults = []
    again = put(node, "--checksum", str(iso))
    assert again.code == 0
    assert "checksum known" not in again.err


def test_a_given_token_announces_the_checksum_of_its_file(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    token = mint("--max-size", "1GiB").out
    assert put(node, "--checksum", str(iso), PORTSIDE_TOKEN=token).code == 0
    assert "repr-digest" in node.requests[1][2]


def test_what_a_node_says_of_a_wait_never_moves_a_cursor(
    node: NodeDouble, keystore: Keystore, iso: Path
) -> None:
    node.tus.faults = [refuse("PATCH", 503, "\x1b[2J"), refuse("PATCH", 404, "\x1b[2J")]
    run = put(node, str(iso))
    assert run.code == 0
    assert "starting over" in run.err
    assert "\x1b" not in run.err


def test_speed_and_time_left_count_from_where_an_upload_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 1000, 10))
    stream = io.StringIO()
    monkeypatch.setattr("portside.client.progress.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("sys.stderr", stream)
    with display("x.iso", 1000 * MIB, "verifying on the node") as shown:
        shown.back_at(900 * MIB)
        shown.sent(910 * MIB)
    assert stream.getvalue() == "x.iso: 91 %, 910.0 MiB of 1000.0 MiB, 1.0 MB/s, 1m30s left\n"


def test_a_file_that_is_all_on_the_node_says_what_it_is_waited_for() -> None:
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        with display("x.iso", MIB, "verifying on the node") as shown:
            shown.back_at(MIB)
    assert stream.getvalue() == "x.iso: 100 %, 1.0 MiB; verifying on the node\n"
