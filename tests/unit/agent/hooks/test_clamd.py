"""What clamd's answers mean: one is clean, and nothing else is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.hooks import clamd
from agent.hooks.clamd import ClamdAway, NoVerdict, Verdict, scan, verdict_of
from portside.cluster.clamd import ClamdAddress

OK = b"stream: OK\0"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (OK, Verdict("clean")),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND\0", Verdict("infected", "Win.Test.EICAR_HDB-1")),
        # `ExtendedDetectionInfo yes`
        (b"stream: A.B(44d8:68) FOUND\0", Verdict("infected", "A.B(44d8:68)")),
        (b"stream: OK FOUND\0", Verdict("infected", "OK")),
        (
            b"stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND\0",
            Verdict("unscannable", "Heuristics.Limits.Exceeded.MaxFileSize"),
        ),
        (
            b"stream: Heuristics.Encrypted.Zip FOUND\0",
            Verdict("unscannable", "Heuristics.Encrypted.Zip"),
        ),
        # 0.105, of a file that exceeds a limit.
        (b"stream: (null) FOUND\0", Verdict("unscannable", "(null)")),
        (
            b"INSTREAM size limit exceeded. ERROR\0",
            Verdict("unscannable", "larger than clamd's StreamMaxLength"),
        ),
    ],
)
def test_an_answer_means_what_clamd_means(answer: bytes, verdict: Verdict) -> None:
    assert verdict_of(answer) == verdict


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        b"stream: OK",
        b"stream: O",
        b"stream: OK\n",
        b"stream: ok\0",
        b" stream: OK\0",
        b"stream: OK \0",
        b"OK\0",
        b"stream:  FOUND\0",
        b"stream: OK\0stream: A.B FOUND\0",
        OK + OK,
        OK + b"\n",
        b"stream: Can't allocate memory ERROR\0",
        b"stream: OK ERROR\0",
        b"COMMAND READ TIMED OUT\0",
        b"UNKNOWN COMMAND\0",
        b"1: stream: OK\0",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"stream: \xff\xfe FOUND\0",
        b"\0stream: OK\0",
        b"x" * 10_000,
    ],
)
def test_whatever_else_it_says_is_no_verdict(answer: bytes) -> None:
    with pytest.raises(NoVerdict):
        verdict_of(answer)


@contextmanager
def _answering(tmp_path: Path, behave: Callable[[socket.socket], None]) -> Iterator[ClamdAddress]:
    """Something at clamd's address that behaves like this with one connection."""
    address = ClamdAddress(path=str(tmp_path / "s"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.path)
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield address
        thread.join()


def _everything(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\0\0\0\0"):
        received += connection.recv(65536)
    return received


def test_the_bytes_go_out_as_chunks_with_an_end(tmp_path: Path) -> None:
    received = []

    def behave(connection: socket.socket) -> None:
        received.append(_everything(connection))
        connection.sendall(OK[:4])
        connection.sendall(OK[4:])

    with _answering(tmp_path, behave) as address:
        assert scan(address, [b"abc", b"", b"de"], lambda: True) == Verdict("clean")
    assert received == [b"zINSTREAM\0\0\0\0\x03abc\0\0\0\x02de\0\0\0\0"]


def _says_ok_too_early(connection: socket.socket) -> None:
    connection.recv(5)
    connection.sendall(OK)
    connection.shutdown(socket.SHUT_WR)
    # Until the other side is done.
    while connection.recv(65536):
        pass


def _is_silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _is_cut(connection: socket.socket) -> None:
    _everything(connection)
    connection.sendall(OK[:-1])


def _hangs_up(connection: socket.socket) -> None:
    connection.recv(5)


def _never_ends(connection: socket.socket) -> None:
    _everything(connection)
    while True:
        connection.sendall(b"stream: OK")


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (_says_ok_too_early, "before it had every byte"),
        (_is_silent, "didn't answer in time"),
        (_is_cut, "cut short"),
        (_hangs_up, "cut short"),
        (_never_ends, "cut short"),
    ],
)
def test_what_answers_as_no_clamd_does_says_nothing(
    tmp_path: Path, behave: Callable[[socket.socket], None], why: str
) -> None:
    # More than a socket takes: whoever doesn't read keeps nobody for ever.
    pieces = [b"x" * 100_000] * 20
    with _answering(tmp_path, behave) as address, pytest.raises(NoVerdict, match=why):
        scan(address, pieces, lambda: True, deadline=0.2)


def test_where_nobody_listens_it_is_away(tmp_path: Path) -> None:
    with pytest.raises(ClamdAway, match="can't be reached"):
        scan(ClamdAddress(path=str(tmp_path / "none")), [b"x"], lambda: True)


def test_a_worker_that_stops_waits_for_no_answer(tmp_path: Path) -> None:
    asked: list[int] = []

    def going() -> bool:
        asked.append(1)
        return len(asked) < 3

    with _answering(tmp_path, _is_silent) as address, pytest.raises(NoVerdict, match="stopped"):
        scan(address, [b"x"], going)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ((OK, OK), "EICAR"),
        ((b"stream: E FOUND\0", OK), "AlertExceedsMax"),
    ],
)
def test_a_clamd_whose_word_is_worth_nothing_is_as_good_as_away(
    monkeypatch: pytest.MonkeyPatch, says: tuple[bytes, ...], why: str
) -> None:
    answers = iter(says)
    monkeypatch.setattr(clamd, "scan", lambda *_: verdict_of(next(answers)))
    with pytest.raises(ClamdAway, match=why):
        clamd.examine(ClamdAddress(), lambda: True)


@pytest.mark.parametrize(
    "text", ["unix:/run/clamav/clamd.ctl", "tcp:192.0.2.7:3310", "tcp:[2001:db8::7]:3310"]
)
def test_an_address_is_read_as_it_is_written(text: str) -> None:
    assert str(ClamdAddress.read(text)) == text


def test_a_port_may_be_left_out() -> None:
    assert ClamdAddress.read("tcp:av.example.net").port == 3310


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/run/clamav/clamd.ctl",
        "unix:run/clamd.ctl",
        "unix:/run/../etc/x",
        "unix:/" + "a" * 107,
        "tcp:",
        "tcp:host:0",
        "tcp:host:65536",
        "tcp:host:x",
        "http://host:3310",
        "tcp:ho st:3310",
        7,
        None,
    ],
)
def test_what_is_no_address_is_refused_with_what_one_looks_like(text: object) -> None:
    with pytest.raises(ValueError, match="no address of clamd"):
        ClamdAddress.read(text)
