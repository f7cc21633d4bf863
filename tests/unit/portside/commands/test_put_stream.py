"""`portside put` of what can't be read twice: pipes, standard input, devices."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.client.http import retry
from portside.client.upload import stream
from portside.client.upload.state import state_folder
from portside.operator.keystore import Keystore
from tests.support.client.command import PUT, Run, mint
from tests.support.client.control_double import API_KEY, ControlDouble
from tests.support.client.node_double import NodeDouble
from tests.support.client.tus_double import Fault, cut_after, lose_answer, refuse

WINDOW = 4096
NAMED = ("--name", "x.iso")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(retry, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(stream, "WINDOW", WINDOW)


@pytest.fixture
def other() -> Iterator[NodeDouble]:
    double = NodeDouble(node_id="s02")
    yield double
    double.close()


def put(content: bytes, *arguments: str, **environment: str) -> Run:
    """Put what comes out of a pipe."""
    read, write = os.pipe()

    def fill() -> None:
        try:
            with os.fdopen(write, "wb") as file:
                file.write(content)
        except BrokenPipeError:
            # Who reads doesn't have to.
            pass

    writer = threading.Thread(target=fill)
    writer.start()
    try:
        return Run(*PUT, f"/dev/fd/{read}", *arguments, **environment)
    finally:
        os.close(read)
        writer.join()


def whole_of(node: NodeDouble) -> bytes:
    (upload,) = node.tus.uploads.values()
    return bytes(upload.data)


@pytest.mark.parametrize("size", [0, 5, WINDOW, WINDOW + 1, 3 * WINDOW + 7])
def test_a_pipe_is_stored_with_every_byte_and_its_url_goes_to_stdout(
    size: int, node: NodeDouble, keystore: Keystore
) -> None:
    content = os.urandom(size)
    run = put(content, *NAMED, "--url", node.url)
    assert (run.code, run.out) == (0, "https://s01.portside.test/uploads/isos/x.iso\n")
    assert whole_of(node) == content
    # Nothing is left that a later run could take for its own.
    assert not state_folder().exists()


def test_a_short_pipe_is_asked_room_for_exactly_and_a_long_one_for_the_most(
    logged_in: ControlDouble, node: NodeDouble
) -> None:
    logged_in.targets = [node]
    assert put(b"short", *NAMED).code == 0
    assert put(bytes(2 * WINDOW), *NAMED).code == 0
    assert put(bytes(2 * WINDOW), *NAMED, "--max-size", "1MiB").code == 0
    asked = [(wish.name, wish.size, wish.max_size) for wish in logged_in.wishes]
    assert asked == [("x.iso", 5, None), ("x.iso", None, None), ("x.iso", None, 1 << 20)]
    assert len(logged_in.receipts) == 3


@pytest.mark.parametrize(
    "fault",
    [
        cut_after(WINDOW // 2),
        cut_after(0),
        lose_answer("PATCH"),
        lose_answer("PATCH", "Upload-Length"),
        lose_answer("POST"),
        refuse("PATCH", 503, "full"),
        refuse("PATCH", 423, "locked"),
    ],
    ids=["cut", "cut at once", "answer", "last answer", "creation", "full", "locked"],
)
def test_what_is_cut_off_is_sent_again_out_of_the_window(
    fault: Fault, node: NodeDouble, keystore: Keystore
) -> None:
    content = os.urandom(3 * WINDOW + 7)
    node.tus.faults = [fault]
    run = put(content, *NAMED, "--url", node.url)
    assert run.code == 0, run.err
    assert whole_of(node) == content


def test_another_node_takes_a_stream_that_the_first_one_doesnt_begin_with(
    logged_in: ControlDouble, node: NodeDouble, other: NodeDouble
) -> None:
    logged_in.targets = [node, other]
    node.tus.faults = [refuse("POST", 503, "full")]
    content = os.urandom(2 * WINDOW)
    run = put(content, *NAMED)
    assert run.code == 0
    assert "s01 took no byte" in run.err
    assert logged_in.wishes[1].avoid == ("s01",)
    assert whole_of(other) == content


def test_what_fails_for_good_leaves_nothing_on_the_node(
    node: NodeDouble, keystore: Keystore
) -> None:
    node.tus.faults = [refuse("PATCH", 415, "type-refused")]
    run = put(bytes(3 * WINDOW), *NAMED, "--url", node.url)
    assert run.code == 3
    assert "--name" in run.err
    assert node.tus.uploads == {}


def test_a_device_without_an_end_is_refused_at_the_most_that_was_said(
    node: NodeDouble, keystore: Keystore
) -> None:
    run = Run(*PUT, "/dev/zero", *NAMED, "--max-size", "10000", "--url", node.url)
    assert run.code == 2
    assert "/dev/zero: is longer than the 10000 bytes" in run.err
    assert "--max-size" in run.err
    assert node.tus.uploads == {}


def test_a_fifo_goes_by_its_own_name(node: NodeDouble, keystore: Keystore, project: Path) -> None:
    os.mkfifo("dump.bin")
    writer = threading.Thread(target=(project / "dump.bin").write_bytes, args=(b"dumped",))
    writer.start()
    run = Run(*PUT, "dump.bin", "--url", node.url)
    writer.join()
    assert run.code == 0
    assert next(iter(node.tus.uploads.values())).name == "dump.bin"


def test_the_kernels_own_files_are_stored_with_what_they_hold(
    node: NodeDouble, keystore: Keystore
) -> None:
    assert Run(*PUT, "/proc/version", "--name", "version.txt", "--url", node.url).code == 0
    assert whole_of(node) == Path("/proc/version").read_bytes()


def test_a_given_token_stores_a_stream(node: NodeDouble, keystore: Keystore) -> None:
    content, token = os.urandom(2 * WINDOW), mint("--max-size", "1MiB").out
    assert put(content, *NAMED, "--url", node.url, PORTSIDE_TOKEN=token).code == 0
    assert whole_of(node) == content


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-",), "say --name"),
        (("/dev/stdin",), "say --name"),
        (("-", "--name", "x.iso", "--checksum"), "can't be read before it is sent"),
        (("-", "--name", "x.iso", "--token-file", "-"), "can be read once only"),
        (("-", "x.iso", "--name", "y.iso"), "a name is for one file"),
        (("-", "-"), "can be read once only"),
    ],
)
def test_what_makes_no_sense_of_a_stream_is_a_usage_error(
    arguments: tuple[str, ...], why: str, node: NodeDouble, keystore: Keystore
) -> None:
    run = Run(*PUT, *arguments, "--url", node.url)
    assert run.code == 2
    assert why in run.err
    assert not node.tus.uploads


def test_ctrl_c_ends_a_stream_and_gives_its_space_back(
    node: NodeDouble, keystore: Keystore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, count: int) -> None:
        if count > WINDOW:
            raise KeyboardInterrupt

    monkeypatch.setattr("portside.commands.sending.Teller.sent", interrupt)
    run = put(bytes(3 * WINDOW), *NAMED, "--url", node.url)
    assert (run.code, run.out) == (130, "")
    assert "the same command" not in run.err
    assert node.tus.received >= WINDOW
    assert node.tus.uploads == {}


def test_standard_input_is_stored_also_where_others_have_made_it_non_blocking(
    logged_in: ControlDouble, node: NodeDouble
) -> None:
    logged_in.targets = [node]
    content = os.urandom(100_000)
    read, write = os.pipe()
    os.set_blocking(read, False)
    with subprocess.Popen(
        [sys.executable, "-c", "from portside.cli import main; main()", *PUT, "-", *NAMED],
        stdin=read,
        stdout=subprocess.PIPE,
        env={**os.environ, "PORTSIDE_URL": logged_in.url, "PORTSIDE_API_KEY": API_KEY},
    ) as process:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(content)
        out, _ = process.communicate()
    assert (process.returncode, out) == (0, b"https://s01.portside.test/uploads/isos/x.iso\n")
    assert whole_of(node) == content
