"""`portside nodes`, `ls` and `rm`: what they ask the control plane, and what they make of it."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from portside.client.control import Control
from portside.commands.storage import nodes
from portside.quantities import GIB
from portside.wire.control import DrainProgress, FileView, NodeView, RepairView, ShortFiles
from portside.wire.files import HoldNote, LifetimeChange
from portside.wire.heartbeat import Heartbeat, QuarantinedFile
from tests.support.client.command import Run
from tests.support.client.control_double import (
    API_KEY,
    ControlDouble,
    file_view,
    hang_up,
    refuse,
    say,
)
from tests.support.client.terminal import Terminal

IDS = tuple(f"{number:032x}" for number in range(5))


def node_view(node_id: str, heartbeat: Heartbeat | None, **facts: object) -> NodeView:
    return NodeView.model_validate(
        {
            "node_id": node_id,
            "state": "active",
            "healthy": True,
            "reasons": (),
            "public_base_url": f"https://{node_id}.example.net",
            "upload_api_url": f"https://{node_id}.example.net/api/internal/upload",
            "region": None,
            "weight": 1,
            "tier": "hot",
            "heard_at": datetime.now(UTC) - timedelta(hours=2, minutes=30, seconds=30),
            "down_since": None,
            "reserved": 0,
            "open_sessions": 0,
            "heartbeat": heartbeat,
            **facts,
        }
    )


def heartbeat(**facts: object) -> Heartbeat:
    others = {"quarantined", "run", "inodes", "begun", "uploads", "certificate"}
    counts = dict.fromkeys(Heartbeat.model_fields.keys() - others, 0)
    return Heartbeat.model_validate(
        {
            **counts,
            "node_id": "s01",
            "ticket": "",
            "sent_at": datetime.now(UTC),
            "version": "1",
            "disk_free": 25 * GIB,
            "disk_total": 100 * GIB,
            "active_uploads": 3,
            "upload_slots": 8,
            "accepting": True,
            "reasons": (),
            "inventory": "",
            "work": (),
            "gone": (),
            "lifetimes": (),
            "holds": (),
            "verdicts": (),
            **facts,
        }
    )


@pytest.fixture
def stored(logged_in: ControlDouble) -> ControlDouble:
    logged_in.files = {file_id: file_view(file_id) for file_id in IDS}
    return logged_in


# -- nodes -----------------------------------------------------------------------------------------


def test_nodes_tells_state_health_space_uploads_and_lag(logged_in: ControlDouble) -> None:
    lagging = heartbeat(replication_waiting=4, replication_oldest=75.0)
    logged_in.nodes = [
        node_view("s01", lagging),
        node_view("s02", None, healthy=False, reasons=("never heard",), heard_at=None),
    ]
    run = Run("nodes")
    assert run.code == 0
    header, first, second = run.out.splitlines()
    assert header.split() == ["node", "state", "health", "free", "used", "slots", "lag", "heard"]
    assert re.split(r"\s{2,}", first) == [
        *("s01", "active", "healthy", "25.0 GiB", "75 %", "3/8", "1m15s (4)", "2h30m ago"),
    ]
    assert "unhealthy: never heard" in second
    assert second.endswith("never")


def test_nodes_as_json_is_what_the_control_plane_said(logged_in: ControlDouble) -> None:
    logged_in.nodes = [node_view("s01", heartbeat())]
    said = json.loads(Run("nodes", "--json").out)
    assert said["nodes"][0]["heartbeat"]["disk_free"] == 25 * GIB


def drain_of(**facts: object) -> DrainProgress:
    return DrainProgress.model_validate(
        {
            "since": datetime.now(UTC) - timedelta(minutes=10),
            "files_left": 3,
            "bytes_left": 3 * GIB,
            "files_gone": 7,
            "bytes_gone": 7 * GIB,
            "copying": 2,
            "bytes_per_second": 10 * 1024**2,
            "seconds_left": 307,
            "blocked": ("1 file has no node to go to: s02 is full",),
            "not_yet": ("s01 still has 3 copies",),
            "drained": False,
            **facts,
        }
    )


DRAINED = drain_of(
    files_left=0, bytes_left=0, files_gone=10, copying=0, blocked=(), not_yet=(), drained=True
)


def test_nodes_says_how_far_a_drain_is_and_when_it_is_over(logged_in: ControlDouble) -> None:
    logged_in.nodes = [
        node_view("s01", heartbeat(scrub_damaged=2), state="draining", drain=drain_of()),
        node_view("s02", None, state="draining", drain=drain_of(copying=0)),
        node_view("s03", None, state="draining", drain=DRAINED),
    ]
    first, second, third = Run("nodes").out.splitlines()[1:]
    assert "draining: 3 files (3.0 GiB) left, 7 gone  " in first
    assert "healthy: 2 files in quarantine" in first
    assert "draining: 3 files (3.0 GiB) left, 7 gone, blocked" in second
    assert "drained: may be retired" in third


def test_one_node_is_told_of_in_full(logged_in: ControlDouble) -> None:
    damaged = QuarantinedFile(file_id=IDS[0], path="isos/a.iso", size=1024, reason="it\x1b smells")
    told = heartbeat(scrub_damaged=1, quarantined=(damaged,))
    logged_in.nodes = [node_view("s01", told, state="draining", drain=drain_of())]
    lines = Run("nodes", "s01").out.splitlines()
    assert lines[0] == "s01: draining, heard 2h30m ago"
    assert "3 files (3.0 GiB) left, 7 (7.0 GiB) gone, 2 copies on their way" in lines[1]
    assert lines[2:] == [
        "10.0 MiB a second: about 5m07s to go",
        "blocked: 1 file has no node to go to: s02 is full",
        "can't be retired yet: s01 still has 3 copies",
        "1 files in quarantine: settle them there with `portside-agent quarantine`",
        f"  {IDS[0]} isos/a.iso (1.0 KiB): it\\x1b smells",
    ]


def test_a_drain_is_watched_until_it_is_over(
    logged_in: ControlDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "POLL_SECONDS", 0.001)
    same = node_view("s01", None, state="draining", drain=drain_of())
    logged_in.nodes = [
        *(same, same),
        node_view("s01", None, state="draining", drain=drain_of(files_left=1)),
        node_view("s01", None, state="draining", drain=DRAINED),
    ]
    run = Run("nodes", "s01", "--watch")
    said = [line for line in run.out.splitlines() if line.startswith("drain")]
    assert ["3 files" in said[0], "1 files" in said[1], len(said)] == [True, True, 3]
    assert "drained: may be retired: `fab retire s01`; 10 files" in said[2]
    assert Run("nodes", "--watch").code == 2


def test_repair_says_what_lacks_copies(logged_in: ControlDouble) -> None:
    logged_in.repair = RepairView(
        short=(ShortFiles(present=0, files=1, bytes=1024), ShortFiles(present=1, files=4, bytes=0)),
        waiting=3,
        leased=2,
        failing=1,
        oldest=datetime.now(UTC) - timedelta(hours=5, seconds=30),
        given_up=("s02",),
        blocked=("4 files have no node to go to: there is no other node",),
    )
    assert Run("repair").out.splitlines() == [
        "1 files (1.0 KiB) have no good copy",
        "4 files (0 B) have 1 of their copies",
        "2 copies are being made, 3 wait, 1 of them have failed before, the oldest ordered "
        "5h00m ago",
        "not waited for any more: s02",
        "blocked: 4 files have no node to go to: there is no other node",
    ]
    logged_in.repair = RepairView(
        short=(), waiting=0, leased=0, failing=0, oldest=None, given_up=(), blocked=()
    )
    assert Run("repair").out == "every file has the copies that it should have\n"


# -- the API's failures ----------------------------------------------------------------------------


def test_a_busy_control_plane_is_asked_again(logged_in: ControlDouble) -> None:
    logged_in.faults = [
        refuse(503, "database-unavailable", {"Retry-After": "0"}),
        refuse(429, "rate-limited", {"Retry-After": "0"}),
        hang_up,
    ]
    assert Run("nodes").code == 0
    assert len(logged_in.requests) == 4


def test_retry_after_is_waited_for_and_told(
    logged_in: ControlDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    logged_in.faults = [refuse(503, "database-unavailable", {"Retry-After": "7"})]
    run = Run("nodes")
    assert run.code == 0
    assert [7 <= pause < 10 for pause in slept] == [True]
    assert "503 database-unavailable); trying again in" in run.err


def test_a_wait_that_is_too_long_is_left_to_the_caller(logged_in: ControlDouble) -> None:
    logged_in.faults = [refuse(429, "rate-limited", {"Retry-After": "3600"})]
    run = Run("nodes")
    assert run.code == 4
    assert "try again in 3600 s" in run.err
    assert len(logged_in.requests) == 1


def test_a_server_error_is_told_with_its_problem(logged_in: ControlDouble) -> None:
    logged_in.faults = [refuse(500, "internal-error")]
    run = Run("nodes")
    assert (run.code, run.out) == (4, "")
    assert "so says the double (500 internal-error)" in run.err


def test_what_nobody_can_wait_for_isnt_tried_again(logged_in: ControlDouble) -> None:
    logged_in.faults = [refuse(503, "issuer-key-missing", {"Retry-After": "5"})]
    assert Run("nodes").code == 4
    assert len(logged_in.requests) == 1


def test_a_missing_scope_is_refused_and_says_who_can_help(logged_in: ControlDouble) -> None:
    logged_in.faults = [refuse(403, "scope-missing")]
    run = Run("nodes")
    assert run.code == 3
    assert "ask the operator for a key that may do this" in run.err


@pytest.mark.parametrize("text", ["", "<html>", "{}", "[]"])
def test_an_answer_that_is_no_answer_isnt_taken_for_one(
    logged_in: ControlDouble, text: str
) -> None:
    logged_in.faults = [say(200, text)]
    run = Run("nodes")
    assert run.code == 4
    assert "check the URL" in run.err
    assert run.err.count("\n") == 1


def test_a_redirect_is_refused_for_the_key_would_go_elsewhere(logged_in: ControlDouble) -> None:
    logged_in.faults = [say(307, "", {"Location": "https://elsewhere.example.net/"})]
    assert Run("nodes").code == 3
    assert len(logged_in.requests) == 1


# -- ls --------------------------------------------------------------------------------------------


def test_ls_shows_a_line_for_each_file(stored: ControlDouble) -> None:
    lines = Run("ls").out.splitlines()
    headers = "file state copies size committed expires namespace owner name"
    assert lines[0].split() == headers.split()
    assert lines[1].split() == (
        f"{IDS[0]} safe 0 3 B 2026-01-02 03:04:05 - isos tester x.iso".split()
    )
    assert len(lines) == 6


def test_ls_passes_its_filters_on(stored: ControlDouble) -> None:
    run = Run(
        *("ls", "debian", "--namespace", "isos", "--owner", "me", "--limit", "7"),
        *("--after", "2026-01-02", "--before", "2026-02-03 04:05:06"),
    )
    assert run.code == 0
    assert stored.asked("GET", "/api/v1/files") == [
        {
            "name": "debian",
            "namespace": "isos",
            "owner": "me",
            "committed_after": "2026-01-02T00:00:00Z",
            "committed_before": "2026-02-03T04:05:06Z",
            "limit": "7",
        }
    ]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        ("2026-01-02T03:04:05.678900+00:00", "2026-01-02T03:04:05.678900Z"),
        ("2026-01-02T03:04:05+01:00", "2026-01-02T03:04:05+01:00"),
    ],
)
def test_ls_takes_a_moment_as_its_json_and_other_clocks_tell_it(
    stored: ControlDouble, given: str, asked: str
) -> None:
    assert Run("ls", "--after", given).code == 0
    [query] = stored.asked("GET", "/api/v1/files")
    assert query["committed_after"] == asked


def test_ls_says_where_it_goes_on(stored: ControlDouble) -> None:
    run = Run("ls", "--limit", "2")
    assert run.out.count("safe") == 2
    assert "--cursor 2" in run.err
    rest = Run("ls", "--cursor", "2")
    assert rest.out.count("safe") == 3
    assert rest.err == ""


def test_ls_all_goes_through_every_page(
    stored: ControlDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portside.commands.files.PAGE", 2)
    lines = Run("ls", "--all", "--json").out.splitlines()
    assert [json.loads(line)["file_id"] for line in lines] == list(IDS)
    assert [query.get("cursor") for query in stored.asked("GET", "/api/v1/files")] == [
        None,
        "2",
        "4",
    ]


def test_a_name_from_elsewhere_cant_move_the_cursor(stored: ControlDouble) -> None:
    stored.files = {IDS[0]: file_view(IDS[0], name="\x1b[2Jx.iso")}
    assert "\x1b" not in Run("ls").out


# -- rm --------------------------------------------------------------------------------------------


def test_rm_deletes_what_is_named(stored: ControlDouble) -> None:
    run = Run("rm", "--yes", IDS[0], IDS[1])
    assert run.code == 0
    states = [stored.files[file_id].state for file_id in IDS]
    assert states == ["deleted", "deleted", "safe", "safe", "safe"]


def test_rm_takes_the_urls_that_put_has_printed_and_nothing_that_is_no_file(
    stored: ControlDouble,
) -> None:
    url = f"https://c01.portside.test/f/{IDS[0]}/x.iso"
    run = Run("rm", "--yes", url, f" {IDS[1].upper()}\n", f"https://s01.portside.test/f/{IDS[2]}")
    assert run.code == 0
    assert [stored.files[each].state for each in IDS[:3]] == ["deleted"] * 3
    run = Run("rm", "--yes", IDS[3], "https://s01.portside.test/uploads/x.iso?token=s3cret")
    assert (run.code, stored.files[IDS[3]].state) == (2, "safe")
    assert "`portside ls` lists it" in run.err
    assert "s3cret" not in run.err


def test_rm_without_a_terminal_needs_yes(stored: ControlDouble) -> None:
    run = Run("rm", IDS[0], stdin="y\n")
    assert run.code == 2
    assert "--yes" in run.err
    assert not stored.requests


def test_rm_goes_on_after_one_that_fails(stored: ControlDouble) -> None:
    run = Run("rm", "-y", "f" * 32, IDS[0])
    assert run.code == 3
    assert f"{'f' * 32}: not found" in run.err
    assert stored.files[IDS[0]].state == "deleted"


@pytest.mark.parametrize(("answer", "state"), [("n", "safe"), ("y", "deleted")])
def test_rm_on_a_terminal_shows_the_file_and_asks(
    stored: ControlDouble, answer: str, state: str
) -> None:
    terminal = Terminal("rm", IDS[0], PORTSIDE_URL=stored.url, PORTSIDE_API_KEY=API_KEY)
    terminal.wait_for("for good?")
    terminal.enter(answer)
    terminal.end()
    assert b"x.iso, 3 B, of tester" in terminal.shown
    assert stored.files[IDS[0]].state == state


# -- keep and restore ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (("keep", "--for", "30d"), {"expires_in": 30 * 86400}),
        (("keep", "--for", "0"), {"expires_in": 0}),
        (("keep", "--forever"), {"expires_at": None}),
        (("restore",), {"expires_at": None}),
        (("restore", "--for", "12h"), {"expires_in": 12 * 3600}),
    ],
)
def test_keep_and_restore_say_when_a_file_ends(
    monkeypatch: pytest.MonkeyPatch, logged_in: ControlDouble, words: tuple[str, ...], sent: object
) -> None:
    asked: list[tuple[str, object]] = []

    def change(control: Control, file_id: str, wanted: LifetimeChange) -> FileView:
        asked.append((file_id, wanted.model_dump(exclude_unset=True)))
        return file_view(file_id)

    monkeypatch.setattr(Control, "change_lifetime", change)
    run = Run(words[0], IDS[0], *words[1:])
    assert (run.code, asked) == (0, [(IDS[0], sent)])
    assert run.err == f"portside: {IDS[0]}: stays\n"


def test_keep_needs_to_hear_for_how_long(logged_in: ControlDouble) -> None:
    assert Run("keep", IDS[0]).code == 2
    assert Run("keep", IDS[0], "--forever", "--for", "1d").code == 2
    assert logged_in.requests == []


# -- hold, release ---------------------------------------------------------------------------------


def test_hold_and_release_say_who_is_to_hear_of_it_and_ls_shows_it(stored: ControlDouble) -> None:
    url = f"https://c01.portside.test/f/{IDS[1]}/x.iso"
    run = Run("hold", IDS[0], url, "--reason", "reported by a user")
    assert run.code == 0
    assert run.err.count(": held; to be told yet: s01, s02") == 2
    notes = [stored.files[each].hold for each in IDS[:2]]
    assert [note and note.reason for note in notes] == ["reported by a user"] * 2
    assert [line for line in Run("ls").out.splitlines() if "safe, held" in line] != []
    note = HoldNote(by="clamav on s01", at=datetime.now(UTC), scan="infected")
    stored.files[IDS[1]] = stored.files[IDS[1]].model_copy(update={"hold": note})
    assert "safe, infected" in Run("ls").out
    assert Run("release", IDS[0]).code == 0
    assert [stored.files[each].held for each in IDS[:3]] == [False, True, False]


def test_hold_goes_on_after_one_that_fails(stored: ControlDouble) -> None:
    run = Run("hold", "f" * 32, IDS[0])
    assert run.code == 3
    assert f"{'f' * 32}: not found" in run.err
    assert stored.files[IDS[0]].held


@pytest.mark.parametrize("reason", ["x" * 201, "two\nlines"])
def test_a_reason_that_is_no_short_line_is_refused_here(stored: ControlDouble, reason: str) -> None:
    run = Run("hold", IDS[0], "--reason", reason)
    assert (run.code, stored.requests) == (2, [])
    assert "one line of up to 200 characters" in run.err
