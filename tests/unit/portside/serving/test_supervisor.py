"""A supervisor and its generations as real processes, with a systemd that keeps their socket."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.serving import asking, status
from portside.serving.registry import Registry
from portside.serving.status import Status
from tests.support.loopback import wait_until

# A web server as small as can be: it says its number and its release, `slow` holds it until the
# client sends more, and a stop lets it finish. In the release "broken" it doesn't come so far.
GENERATION = """
import os, select, signal, socket, sys, threading
release = os.path.basename(os.path.dirname(os.path.abspath(__file__)))
if release == "broken": sys.exit(3)
stop, stopped = socket.socketpair()
signal.signal(signal.SIGTERM, lambda *_: stopped.send(b"x"))
listener = socket.socket(fileno=3)
listener.setblocking(False)
assert os.environ["LISTEN_PID"] == str(os.getpid()) and "NOTIFY_SOCKET" not in os.environ
def answer(connection):
    if connection.recv(10) == b"slow":
        connection.sendall(b"."); connection.recv(10)
    connection.sendall(f"{os.getpid()} {release}".encode()); connection.close()
os.write(int(os.environ["PORTSIDE_READY"]), b"1")
threads = []
while stop not in select.select([listener, stop], [], [])[0]:
    try: connection = listener.accept()[0]
    except BlockingIOError: continue
    connection.setblocking(True)
    threads.append(threading.Thread(target=answer, args=(connection,))); threads[-1].start()
listener.close()
for each in threads: each.join()
"""

START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.argv[2], sys.argv[2:])
"""


class Unit:
    """What systemd does for the unit: it starts the supervisor, and keeps its socket for it."""

    def __init__(self, home: Path) -> None:
        self.socket = home / "web.sock"
        self.release = home / "current"
        self.modules = str(Path(__file__).parents[4])
        self.said: list[str] = []
        self.kept: int | None = None
        for name in ("one", "two", "broken"):
            (home / name).mkdir()
            (home / name / "program").write_text(f"#!{sys.executable}{textwrap.dedent(GENERATION)}")
            (home / name / "program").chmod(0o755)
        self.link("one")
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(home / "notify"))
        self.notifications.setblocking(False)
        self.environment = {"NOTIFY_SOCKET": str(home / "notify"), "PATH": os.environ["PATH"]}
        self.main: subprocess.Popen[bytes] | None = None

    def link(self, release: str) -> None:
        self.release.with_name("next").symlink_to(release)
        self.release.with_name("next").replace(self.release)

    def start(self, most: int = 3) -> None:
        command = [
            *(sys.executable, "-m", "portside.serving", "--socket", str(self.socket), "run"),
            *("--release", str(self.release), "--most", str(most), f"{self.release}/program"),
        ]
        # What the one before has said is none of this one's.
        self.heard()
        self.said.clear()
        kept = () if self.kept is None else (self.kept,)
        if kept:
            command = [sys.executable, "-c", START, str(self.kept), *command]
        self.main = subprocess.Popen(
            command,
            env=self.environment | {"PYTHONPATH": self.modules},
            pass_fds=kept,
        )
        wait_until(lambda: any("READY=1" in each for each in self.heard()))

    def heard(self) -> list[str]:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self.notifications, 4096, 1)
                self.said.append(data.decode())
                if "FDSTOREREMOVE" in self.said[-1] and self.kept is not None:
                    os.close(self.kept)
                    self.kept = None
                for each in descriptors:
                    self.keep(each)
        return self.said

    def keep(self, descriptor: int) -> None:
        if self.kept is None:
            self.kept = descriptor
        else:
            os.close(descriptor)

    def end(self, number: signal.Signals) -> int:
        assert self.main is not None
        self.main.send_signal(number)
        return self.main.wait(timeout=60)

    def reload(self) -> str | None:
        assert self.main is not None
        return asking.ask(self.socket.parent, self.main.pid, within=30)

    def status(self) -> Status:
        return status.read(status.runtime_file(self.socket.parent))

    def ask(self) -> tuple[int, str]:
        """Which process answers, and its release."""
        with self.connected(b"quick") as connection:
            return _answer(connection)

    def taken_over_from(self, before: int) -> str:
        """The release of another process, once the one before takes nothing new."""
        # It is told to stop after others hear of it, and may be waiting for a client meanwhile.
        wait_until(lambda: not Path(f"/proc/{before}/fd/3").exists())
        process, release = self.ask()
        assert process != before
        return release

    def connected(self, what: bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        connection.connect(str(self.socket))
        connection.sendall(what)
        if what == b"slow":
            # From here on it is that process's, and no longer in the queue.
            assert connection.recv(1) == b"."
        return connection

    def close(self) -> None:
        if self.main is not None and self.main.poll() is None:
            self.end(signal.SIGKILL)
        registry = Registry(self.socket.parent / "generations")
        for each in registry.alive():
            os.kill(each, signal.SIGKILL)
        wait_until(lambda: not registry.alive())
        self.notifications.close()
        if self.kept is not None:
            os.close(self.kept)


def _answer(connection: socket.socket) -> tuple[int, str]:
    process, release = connection.recv(100).decode().split()
    return int(process), release


@pytest.fixture
def unit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unit]:
    made = Unit(tmp_path_factory.mktemp("unit"))
    yield made
    made.close()


def test_a_reload_starts_the_release_that_is_current_and_cuts_nothing(unit: Unit) -> None:
    unit.start()
    before, release = unit.ask()
    assert release == "one"
    with unit.connected(b"slow") as slow:
        unit.link("two")
        assert unit.reload() is None
        assert unit.taken_over_from(before) == "two"
        assert unit.status().draining == (before,)
        slow.sendall(b"go on")
        assert _answer(slow) == (before, "one")
    wait_until(lambda: not unit.status().draining)


def test_a_release_that_does_not_start_leaves_the_old_one_serving(unit: Unit) -> None:
    unit.start()
    before, _ = unit.ask()
    unit.link("broken")
    complaint = unit.reload()
    assert complaint is not None
    assert "ended before it could serve" in complaint
    assert unit.ask() == (before, "one")
    unit.link("two")
    assert unit.reload() is None
    assert unit.taken_over_from(before) == "two"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_restart_and_a_crash_cut_nothing_and_refuse_nobody(
    unit: Unit, number: signal.Signals
) -> None:
    unit.start()
    before, _ = unit.ask()
    with unit.connected(b"slow") as slow:
        unit.end(number)
        # Nobody watches, and who served goes on serving.
        assert unit.ask() == (before, "one")
        unit.start()
        assert asking.wait_for(unit.socket.parent, unit.status().asked, within=30) is None
        unit.taken_over_from(before)
        slow.sendall(b"go on")
        assert _answer(slow) == (before, "one")
    wait_until(lambda: not unit.status().draining)


def test_a_full_run_ends_nobody_and_is_told_once(
    unit: Unit, capfd: pytest.CaptureFixture[str]
) -> None:
    unit.start()
    first, _ = unit.ask()
    candidate = unit.socket.with_name(".serving.json.new")
    candidate.symlink_to("/dev/full")
    unit.link("two")
    assert unit.main is not None
    unit.main.send_signal(signal.SIGHUP)
    assert unit.taken_over_from(first) == "two"
    assert unit.status().serving == first
    # Nor does it keep the next one from starting.
    unit.end(signal.SIGUSR1)
    assert capfd.readouterr().out.count("No space left on device") == 1
    unit.start()
    before, _ = unit.ask()
    # Once there is room it is told what became of all that.
    candidate.unlink()
    wait_until(lambda: unit.status().serving == before)
    assert unit.reload() is None
    assert unit.taken_over_from(before) == "two"


NO_FORK = """
import os
fork = os.fork
def refused():
    if os.path.exists(__file__ + ".refuses"): raise BlockingIOError(11, "out of processes")
    return fork()
os.fork = refused
"""


def test_a_node_without_room_for_one_more_process_goes_on_with_those_that_it_has(
    unit: Unit, capfd: pytest.CaptureFixture[str]
) -> None:
    module = unit.socket.with_name("sitecustomize.py")
    module.write_text(NO_FORK)
    unit.modules += f":{module.parent}"
    unit.start()
    before, _ = unit.ask()
    refuses = module.with_name(f"{module.name}.refuses")
    refuses.touch()
    assert "ended before it could serve" in (unit.reload() or "")
    unit.end(signal.SIGUSR1)
    unit.start()
    assert unit.ask()[0] == before
    assert "no process can be started: [Errno 11] out of processes" in capfd.readouterr().out
    refuses.unlink()
    assert unit.reload() is None
    unit.taken_over_from(before)


def test_what_memory_has_no_room_for_waits_until_an_old_one_has_ended(unit: Unit) -> None:
    unit.start(most=2)
    first, _ = unit.ask()
    with unit.connected(b"slow") as slow:
        assert unit.reload() is None
        unit.taken_over_from(first)
        second, _ = unit.ask()
        os.kill(unit.main.pid, signal.SIGHUP)  # type: ignore[union-attr]
        wait_until(lambda: unit.status().waits)
        assert unit.ask()[0] == second
        wait_until(status.hand_back_file(unit.socket.parent, first).exists)
        slow.sendall(b"go on")
        assert _answer(slow)[0] == first
    wait_until(lambda: unit.status().serving not in (None, first, second))
    assert not status.hand_back_file(unit.socket.parent, first).exists()


def test_who_goes_back_serves_at_once_where_memory_has_no_room_for_more(unit: Unit) -> None:
    unit.start(most=2)
    first, _ = unit.ask()
    with unit.connected(b"slow") as slow:
        unit.link("two")
        assert unit.reload() is None
        assert unit.taken_over_from(first) == "two"
        bad, _ = unit.ask()
        unit.link("one")
        status.beyond_file(unit.socket.parent).touch()
        assert unit.reload() is None
        assert unit.taken_over_from(bad) == "one"
        assert not status.beyond_file(unit.socket.parent).exists()
        slow.sendall(b"go on")
        assert _answer(slow) == (first, "one")
    wait_until(lambda: not unit.status().draining)


def test_who_is_about_to_change_something_hears_whether_there_is_room(unit: Unit) -> None:
    folder = unit.socket.parent
    assert asking.make_room(folder) is None
    unit.start(most=2)
    assert asking.make_room(folder) is None
    first, _ = unit.ask()
    with unit.connected(b"slow") as slow:
        assert unit.reload() is None
        unit.taken_over_from(first)
        assert "as many older processes" in (asking.make_room(folder, within=0.1) or "")
        # Its clients can go on elsewhere with what can be resumed.
        assert status.hand_back_file(folder, first).exists()
        slow.sendall(b"go on")
        assert _answer(slow)[0] == first
    wait_until(lambda: not unit.status().draining)
    assert asking.make_room(folder) is None
    assert not status.hand_back_file(folder, first).exists()


def test_a_stop_waits_for_what_is_under_way(unit: Unit) -> None:
    unit.start()
    with unit.connected(b"slow") as slow:
        assert unit.main is not None
        unit.main.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            unit.main.wait(timeout=0.3)
        slow.sendall(b"go on")
        _answer(slow)
        assert unit.main.wait(timeout=30) == 0
    assert Registry(unit.socket.parent / "generations").alive() == []


def test_what_comes_while_a_stopped_service_ends_is_refused_at_once(unit: Unit) -> None:
    unit.start()
    before, _ = unit.ask()
    with unit.connected(b"slow") as slow:
        assert unit.main is not None
        for _ in range(2):
            unit.main.send_signal(signal.SIGTERM)
            # Told again it has nothing more to close.
            wait_until(lambda: not Path(f"/proc/{before}/fd/3").exists())
        unit.heard()
        assert unit.kept is None
        with pytest.raises(ConnectionRefusedError):
            unit.connected(b"quick")
        slow.sendall(b"go on")
        assert _answer(slow)[0] == before
    assert unit.main.wait(timeout=30) == 0
    unit.start()
    assert unit.ask()[1] == "one"


def test_a_service_that_cannot_start_ends_so_that_systemd_tries_again(unit: Unit) -> None:
    unit.link("broken")
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "portside.serving", "--socket", str(unit.socket), "run"),
            *("--release", str(unit.release), "--most", "2", f"{unit.release}/program"),
        ],
        check=False,
        timeout=30,
    )
    assert ended.returncode == 1


def test_a_socket_whose_name_was_removed_is_bound_anew_and_kept(unit: Unit) -> None:
    unit.start()
    unit.end(signal.SIGUSR1)
    unit.socket.unlink()
    for _ in range(2):
        unit.start()
        assert unit.ask()[1] == "one"
        unit.end(signal.SIGUSR1)


def test_the_socket_is_for_the_group_and_nobody_else(unit: Unit) -> None:
    unit.start()
    assert unit.socket.stat().st_mode & 0o777 == 0o660


def test_a_status_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = tmp_path / "serving.json"
    assert status.read(path) == Status()
    for said in ("", "[]", '{"asked": 1, "draining": 5}', '{"draining": ["/../../etc/nologin"]}'):
        path.write_text(said)
        assert status.read(path) == Status()
    path.write_text(json.dumps({"asked": 3, "from": "another release", "draining": [4]}))
    assert status.read(path) == Status(asked=3, draining=(4,))


def test_who_waits_hears_why(tmp_path: Path) -> None:
    path = status.runtime_file(tmp_path)
    for said, words in (
        (Status(asked=2, failed=2, serving=1), "ended before it could serve"),
        (
            Status(asked=2, waits=True, most=3, draining=(5, 6)),
            "still finish what they have (2,",
        ),
        (Status(asked=2), "can't serve yet"),
    ):
        status.write(path, said)
        begun = time.monotonic()
        assert words in (asking.wait_for(tmp_path, 2, within=0.05) or "")
        assert time.monotonic() - begun < 10
    status.write(path, Status(asked=2, served=2))
    assert asking.wait_for(tmp_path, 2, within=0) is None
