"""`portside get`: a file arrives whole and verified under its name, or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portside import durable_file
from portside.client.download import fetch
from portside.client.download.partial import PartialFile
from portside.operator.keystore import Keystore
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble, ControlHandler, file_view, refuse
from tests.support.client.copy_double import CopyDouble, CopyHandler, cut_at
from tests.support.client.copy_double import refuse as no

FILE_ID = "0123456789abcdef" * 2
CONTENT = bytes(range(256)) * 8192
"""2 MiB: several reads."""

HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(fetch, "SHORTEST_PAUSE", 0.001)
    monkeypatch.setattr(fetch, "LONGEST_PAUSE", 0.002)
    return folder


@pytest.fixture
def copies(logged_in: ControlDouble) -> Iterator[list[CopyDouble]]:
    made = [CopyDouble("s01", CONTENT), CopyDouble("s02", CONTENT)]
    logged_in.copies = made
    offer(logged_in)
    yield made
    for copy in made:
        copy.close()


def offer(control: ControlDouble, content: bytes = CONTENT, **facts: object) -> None:
    present = [
        {"node_id": copy.node_id, "url": copy.url, "state": "present"} for copy in control.copies
    ]
    control.files[FILE_ID] = file_view(
        FILE_ID,
        **{
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "copies": present,
            **facts,
        },
    )


def part(folder: Path) -> Path:
    return folder / f".{FILE_ID}.part"


def test_a_file_comes_under_its_name_and_its_path_goes_to_stdout(
    copies: list[CopyDouble], here: Path
) -> None:
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (0, "x.iso\n")
    assert [path.name for path in here.iterdir()] == ["x.iso"]
    assert (here / "x.iso").read_bytes() == CONTENT
    assert copies[1].ranges == []


def test_output_is_a_file_or_a_folder(copies: list[CopyDouble], here: Path) -> None:
    (here / "folder").mkdir()
    assert Run("get", FILE_ID, "-o", "folder").out == "folder/x.iso\n"
    assert Run("get", FILE_ID, "-o", "y.iso").out == "y.iso\n"
    assert (here / "folder/x.iso").read_bytes() == (here / "y.iso").read_bytes() == CONTENT


def test_an_empty_file_is_a_file(logged_in: ControlDouble, here: Path) -> None:
    offer(logged_in, b"")
    assert Run("get", FILE_ID).code == 0
    assert (here / "x.iso").read_bytes() == b""


@pytest.mark.parametrize(
    "name", ["../x.iso", "/etc/x.iso", ".bashrc", "x\n.iso", ".", "..", "\x1b[2J", None]
)
def test_a_name_from_elsewhere_never_leads_out_of_the_folder(
    copies: list[CopyDouble], logged_in: ControlDouble, here: Path, name: str | None
) -> None:
    offer(logged_in, name=name)
    assert Run("get", FILE_ID).code == 0
    assert [path.name for path in here.iterdir()] == [FILE_ID]


def test_another_file_in_its_place_stays_unless_forced(
    copies: list[CopyDouble], here: Path
) -> None:
    (here / "x.iso").write_bytes(b"mine")
    run = Run("get", FILE_ID)
    assert run.code == 2
    assert "--force" in run.err
    assert (here / "x.iso").read_bytes() == b"mine"
    assert Run("get", FILE_ID, "--force").code == 0
    assert (here / "x.iso").read_bytes() == CONTENT


def test_what_is_there_already_isnt_fetched_again(copies: list[CopyDouble], here: Path) -> None:
    (here / "x.iso").write_bytes(CONTENT)
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (0, "x.iso\n")
    assert copies[0].ranges == []


# -- names and places ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("x" * 300 + ".tar.gz", "x" * 193 + ".tar.gz"),
        ("\u00e9" * 200 + ".iso", "\u00e9" * 118 + ".iso"),
        ("x" * 251 + ".iso", "x" * 251 + ".iso"),
    ],
)
def test_a_name_too_long_for_the_disk_is_cut_before_a_byte_is_fetched(
    copies: list[CopyDouble], logged_in: ControlDouble, here: Path, name: str, kept: str
) -> None:
    offer(logged_in, name=name)
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (0, f"{kept}\n")
    assert ("can't be a name here" in run.err) == (name != kept)
    assert [path.name for path in here.iterdir()] == [kept]


@pytest.fixture
def fat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are refused as vfat does it: when a file is made, not when it is looked for."""
    make = os.open

    def refusing(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        name = Path(path).name if isinstance(path, str | Path) else ""
        if flags & os.O_CREAT and (re.search(r'[<>:"|?*\\]', name) or name.endswith((".", " "))):
            raise OSError(errno.EINVAL, "Invalid argument", str(path))
        return make(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", refusing)


@pytest.mark.usefixtures("fat")
@pytest.mark.parametrize(
    ("name", "kept"), [("12:30?.iso", "12_30_.iso"), ("a.iso. ", "a.iso"), ('"a"|b', "_a__b")]
)
def test_a_name_that_the_filesystem_cant_have_is_the_nearest_one(
    copies: list[CopyDouble], logged_in: ControlDouble, here: Path, name: str, kept: str
) -> None:
    offer(logged_in, name=name)
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (0, f"{kept}\n")
    assert (here / kept).read_bytes() == CONTENT


@pytest.mark.usefixtures("fat")
@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("a:b.iso", "can't be a name there (Invalid argument)"),
        ("x" * 256, "can't be a name there (File name too long)"),
        ("nowhere/", "there is no such folder: make it first"),
        ("nowhere/x.iso", "there is no folder nowhere"),
        ("file/x.iso", "there is no folder file"),
        ("socket", "is a socket"),
    ],
)
def test_an_output_that_cant_be_is_refused_before_a_byte_is_fetched(
    copies: list[CopyDouble], here: Path, output: str, why: str
) -> None:
    (here / "file").touch()
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    run = Run("get", FILE_ID, "-o", output)
    assert (run.code, run.out) == (2, "")
    assert why in run.err
    assert copies[0].ranges == []


def test_a_folder_may_be_named_with_its_slash(copies: list[CopyDouble], here: Path) -> None:
    (here / "folder").mkdir()
    assert Run("get", FILE_ID, "-o", "folder/").out == "folder/x.iso\n"


def test_through_a_link_its_file_is_written(copies: list[CopyDouble], here: Path) -> None:
    (here / "folder").mkdir()
    (here / "new").symlink_to("folder/new.iso")
    (here / "old").symlink_to("folder/old.iso")
    (here / "folder/old.iso").write_bytes(b"old")
    assert Run("get", FILE_ID, "-o", "new").out == "new\n"
    assert Run("get", FILE_ID, "-o", "old").code == 2
    assert Run("get", FILE_ID, "-o", "old", "--force").code == 0
    assert (here / "new").is_symlink()
    assert (here / "old").is_symlink()
    assert (here / "folder/new.iso").read_bytes() == CONTENT
    assert (here / "folder/old.iso").read_bytes() == CONTENT


def test_what_comes_to_be_there_meanwhile_stays(copies: list[CopyDouble], here: Path) -> None:
    def appear(handler: object) -> bool:
        (here / "x.iso").write_bytes(b"mine")
        return False

    copies[0].faults = [appear]
    run = Run("get", FILE_ID)
    assert run.code == 2
    assert "has come to be there meanwhile" in run.err
    assert (here / "x.iso").read_bytes() == b"mine"
    assert Run("get", FILE_ID, "--force").code == 0
    assert len(copies[0].ranges) == 1


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOSPC, "No space left on device after 0 bytes: make room"),
        (errno.EDQUOT, "after 0 bytes: make room"),
        (errno.EFBIG, "takes no file so large"),
        (errno.EROFS, "Read-only file system"),
    ],
)
def test_a_disk_that_takes_no_more_is_told_with_what_to_do(
    copies: list[CopyDouble], monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "pwrite", fail)
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (2, "")
    assert why in run.err


def test_a_filesystem_without_an_fsync_of_folders_gets_files(
    copies: list[CopyDouble], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_folders(path: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(durable_file, "sync_directory", refuse_folders)
    assert Run("get", FILE_ID).code == 0
    assert (here / "x.iso").read_bytes() == CONTENT


# -- streams ---------------------------------------------------------------------------------------


class Reader:
    """A pipe whose other end is read until it ends, or so many bytes have come."""

    def __init__(self, most: int | None = None) -> None:
        self.read, self.write = os.pipe()
        self.output = f"/dev/fd/{self.write}"
        self._got: list[bytes] = []
        self._thread = threading.Thread(target=self._run, args=(most,))
        self._thread.start()

    def got(self) -> bytes:
        """What has come, once all who write are gone."""
        os.close(self.write)
        self._thread.join()
        return b"".join(self._got)

    def _run(self, most: int | None) -> None:
        with os.fdopen(self.read, "rb") as file:
            self._got.append(file.read() if most is None else file.read(most))


def test_a_pipe_gets_the_file_and_stdout_nothing_else(copies: list[CopyDouble], here: Path) -> None:
    reader = Reader()
    run = Run("get", FILE_ID, "-o", reader.output)
    assert (run.code, run.out) == (0, "")
    assert reader.got() == CONTENT
    assert list(here.iterdir()) == []


def test_a_cut_is_mended_in_a_pipe_as_well(copies: list[CopyDouble]) -> None:
    copies[0].faults = [cut_at(HALF)]
    reader = Reader()
    assert Run("get", FILE_ID, "-o", reader.output).code == 0
    assert reader.got() == CONTENT
    assert copies[1].ranges == [f"bytes={HALF}-"]


def test_a_node_that_sends_no_ranges_is_no_help_to_a_pipe(copies: list[CopyDouble]) -> None:
    copies[0].faults = [cut_at(HALF)]
    copies[1].takes_ranges = False
    reader = Reader()
    assert Run("get", FILE_ID, "-o", reader.output).code == 0
    assert reader.got() == CONTENT


def test_damage_in_a_pipe_is_exit_code_5(copies: list[CopyDouble]) -> None:
    copies[0].content = CONTENT[:-1] + b"!"
    reader = Reader()
    run = Run("get", FILE_ID, "-o", reader.output)
    assert run.code == 5
    assert "what came from s01 is damaged" in run.err
    assert "don't use it" in run.err
    assert len(reader.got()) == len(CONTENT)


def test_who_reads_no_more_ends_it_in_silence(copies: list[CopyDouble]) -> None:
    reader = Reader(most=10)
    run = Run("get", FILE_ID, "-o", reader.output)
    assert (run.code, run.out) == (1, "")
    assert "portside:" not in run.err
    assert reader.got() == CONTENT[:10]


def test_a_device_and_a_fifo_are_written_and_never_replaced(
    copies: list[CopyDouble], here: Path
) -> None:
    run = Run("get", FILE_ID, "-o", "/dev/null")
    assert (run.code, run.out) == (0, "/dev/null\n")
    os.mkfifo("fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((here / "fifo").read_bytes()))
    reader.start()
    assert Run("get", FILE_ID, "-o", "fifo", "--force").code == 0
    reader.join()
    assert got == [CONTENT]
    assert (here / "fifo").is_fifo()


def test_a_device_that_is_full_is_told(copies: list[CopyDouble]) -> None:
    run = Run("get", FILE_ID, "-o", "/dev/full")
    assert run.code == 2
    assert "/dev/full: is full after 0 bytes" in run.err


def test_a_disk_is_written_over_with_force_only(
    copies: list[CopyDouble], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk is at hand here: a file that stat(2) calls one."""
    (here / "disk").write_bytes(b"data")
    told = os.stat

    def as_a_disk(path: Any, **options: Any) -> os.stat_result:
        found = told(path, **options)
        if str(path) != "disk":
            return found
        return os.stat_result((stat.S_IFBLK | 0o600, *tuple(found)[1:]))

    monkeypatch.setattr(os, "stat", as_a_disk)
    run = Run("get", FILE_ID, "-o", "disk")
    assert run.code == 2
    assert "is a disk: --force writes over what is on it" in run.err
    assert (here / "disk").read_bytes() == b"data"
    assert Run("get", FILE_ID, "-o", "disk", "--force").code == 0
    assert (here / "disk").read_bytes() == CONTENT


# -- cuts ------------------------------------------------------------------------------------------


def test_another_node_goes_on_where_one_was_cut_off(copies: list[CopyDouble], here: Path) -> None:
    copies[0].faults = [cut_at(HALF)]
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert (here / "x.iso").read_bytes() == CONTENT
    assert copies[1].ranges == [f"bytes={HALF}-"]
    assert re.search(
        r"s01 \(127\.0\.0\.1:\d+\): no connection.*going on from another node", run.err
    )
    assert "secret" not in run.err


@pytest.mark.parametrize("status", [401, 404, 500, 503, 302])
def test_a_node_that_doesnt_serve_it_is_replaced(
    copies: list[CopyDouble], here: Path, status: int
) -> None:
    copies[0].faults = [no(status)]
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert f"s01: {status}" in run.err
    assert copies[1].ranges == [None]


def test_a_node_that_is_gone_is_replaced(copies: list[CopyDouble], here: Path) -> None:
    copies[0].close()
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert (here / "x.iso").read_bytes() == CONTENT


def test_the_same_command_goes_on_after_it_was_given_up(
    copies: list[CopyDouble], here: Path
) -> None:
    for copy in copies:
        copy.faults = [cut_at(HALF), *[no(503)] * 9]
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (4, "")
    assert "the same command goes on" in run.err
    assert not (here / "x.iso").exists()
    assert part(here).stat().st_size == HALF
    for copy in copies:
        copy.faults, copy.ranges = [], []
    again = Run("get", FILE_ID)
    assert again.code == 0
    assert "resuming at 50 %" in again.err
    assert copies[0].ranges == [f"bytes={HALF}-"]
    assert (here / "x.iso").read_bytes() == CONTENT


def test_a_node_that_knows_no_ranges_begins_anew(copies: list[CopyDouble], here: Path) -> None:
    part(here).write_bytes(CONTENT[:HALF])
    copies[0].takes_ranges = False
    assert Run("get", FILE_ID).code == 0
    assert (here / "x.iso").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [b"x" * HALF, CONTENT + b"x", b"x" * len(CONTENT)])
def test_what_an_earlier_run_left_is_verified_too(
    copies: list[CopyDouble], here: Path, left: bytes
) -> None:
    part(here).write_bytes(left)
    assert Run("get", FILE_ID).code == 0
    assert (here / "x.iso").read_bytes() == CONTENT


@pytest.mark.parametrize("trusted", [True, False])
def test_the_remembered_ca_counts_for_the_nodes_and_nothing_else_does(
    logged_in: ControlDouble,
    keystore: Keystore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    trusted: bool,
) -> None:
    copy = CopyDouble("s01", CONTENT, keystore.node_certificate("s01", "localhost"))
    logged_in.copies = [copy]
    offer(logged_in)
    ours, other = str(keystore.ca_certificate()), "/etc/ssl/certs/ca-certificates.crt"
    monkeypatch.setenv("PORTSIDE_CA", ours if trusted else other)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", other if trusted else ours)
    run = Run("get", FILE_ID, "-o", str(tmp_path / "x.iso"))
    copy.close()
    assert run.code == (0 if trusted else 4)
    assert trusted or "portside login URL --ca FILE" in run.err


# -- damage ----------------------------------------------------------------------------------------


def test_a_damaged_copy_is_passed_over(copies: list[CopyDouble], here: Path) -> None:
    copies[0].content = CONTENT[:-1] + b"x"
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert "what came from s01 is damaged" in run.err
    assert (here / "x.iso").read_bytes() == CONTENT


def test_with_damaged_copies_only_nothing_gets_the_name(
    copies: list[CopyDouble], here: Path
) -> None:
    for copy in copies:
        copy.content = CONTENT[:-1] + b"x"
    run = Run("get", FILE_ID)
    assert (run.code, run.out) == (5, "")
    assert "no node has a copy with the file's SHA-256 (s01, s02)" in run.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT + b"x"])
def test_a_copy_of_another_size_is_passed_over(
    copies: list[CopyDouble], here: Path, content: bytes
) -> None:
    copies[0].content = content
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert "s01: its copy has another size" in run.err
    assert (here / "x.iso").read_bytes() == CONTENT


def _in_chunks(handler: CopyHandler, content: bytes = CONTENT) -> bool:
    """As a proxy sends on what it reads along: without its length."""
    begin = int((handler.headers["Range"] or "bytes=0-")[6:-1])
    handler.send_response(206 if begin else 200)
    handler.send_header("Transfer-Encoding", "chunked")
    if begin:
        handler.send_header("Content-Range", f"bytes {begin}-{len(CONTENT) - 1}/{len(CONTENT)}")
    handler.end_headers()
    rest = content[begin:]
    handler.wfile.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))
    return True


def test_an_answer_without_a_length_is_counted(copies: list[CopyDouble], here: Path) -> None:
    copies[0].faults = [cut_at(HALF)]
    copies[1].faults = [_in_chunks]
    run = Run("get", FILE_ID)
    assert (run.code, "another size" in run.err) == (0, False)
    copies[0].faults = [lambda handler: _in_chunks(handler, CONTENT + b"x")]
    run = Run("get", FILE_ID, "-o", "again")
    assert run.code == 0
    assert "s01: its copy has another size" in run.err
    assert (here / "again").read_bytes() == CONTENT


def test_what_a_proxy_has_done_to_an_answer_is_told(copies: list[CopyDouble]) -> None:
    def encoded(handler: CopyHandler) -> bool:
        handler.send_response(200)
        for name, value in (("Content-Encoding", "gzip"), ("Content-Length", "0")):
            handler.send_header(name, value)
        handler.end_headers()
        return True

    def signed_in_first(handler: CopyHandler) -> bool:
        handler.send_response(302)
        handler.send_header("Location", "https://login.example/start?token=s3cret")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    copies[0].faults = [encoded]
    copies[1].faults = [signed_in_first]
    run = Run("get", FILE_ID)
    assert run.code == 0
    assert "s01: the answer is encoded (gzip)" in run.err
    assert "it leads to https://login.example/start, and redirects aren't followed" in run.err
    assert "s3cret" not in run.err


def test_a_password_of_the_netrc_stays_here(copies: list[CopyDouble], tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    sent: list[str | None] = []

    def look(handler: CopyHandler) -> bool:
        sent.append(handler.headers["Authorization"])
        return False

    copies[0].faults = [look]
    assert Run("get", FILE_ID, NETRC=str(tmp_path / "netrc")).code == 0
    assert sent == [None]


def test_a_file_is_named_by_its_url_as_well(copies: list[CopyDouble], here: Path) -> None:
    run = Run("get", f"https://c01.portside.test/f/{FILE_ID}/x.iso")
    assert (run.code, (here / "x.iso").read_bytes() == CONTENT) == (0, True)


# -- refusals --------------------------------------------------------------------------------------


def test_an_unknown_file_is_refused(logged_in: ControlDouble, here: Path) -> None:
    run = Run("get", FILE_ID)
    assert run.code == 3
    assert "404 not-found" in run.err
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("state", ["deleted", "lost"])
def test_a_file_without_copies_is_told(
    logged_in: ControlDouble, copies: list[CopyDouble], state: str
) -> None:
    offer(logged_in, state=state)
    run = Run("get", FILE_ID)
    assert run.code == 4
    assert state in run.err


def test_a_control_plane_that_goes_away_midway_leaves_what_has_come(
    logged_in: ControlDouble, copies: list[CopyDouble], here: Path
) -> None:
    def gone(handler: ControlHandler) -> bool:
        return bool(copies[0].ranges) and refuse(500, "internal-error")(handler)

    copies[0].faults = [cut_at(HALF)]
    logged_in.faults = [gone]
    assert Run("get", FILE_ID).code == 4
    assert part(here).stat().st_size == HALF


def test_two_processes_dont_fetch_the_same_file_to_the_same_place(
    copies: list[CopyDouble], here: Path
) -> None:
    with PartialFile(here / "x.iso", FILE_ID):
        run = Run("get", FILE_ID)
    assert run.code == 4
    assert "another process is fetching it" in run.err


def test_a_full_disk_is_told_and_what_has_come_stays(
    copies: list[CopyDouble], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.pwrite

    def full(descriptor: int, data: memoryview, position: int) -> int:
        if position >= HALF:
            raise OSError(28, "No space left on device")
        return write(descriptor, data, position)

    monkeypatch.setattr(os, "pwrite", full)
    run = Run("get", FILE_ID)
    assert run.code == 2
    assert "x.iso: No space left on device" in run.err
    assert part(here).stat().st_size == HALF


def test_a_folder_that_isnt_there_is_told(copies: list[CopyDouble]) -> None:
    run = Run("get", FILE_ID, "-o", "nowhere/x.iso")
    assert run.code == 2
    assert "nowhere/x.iso: there is no folder nowhere: make it first" in run.err
