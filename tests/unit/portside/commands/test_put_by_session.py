"""`portside put` after a login: the control plane names the node, and hears of the file."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.backoff import Backoff
from portside.client.http import retry
from portside.client.upload import placed
from portside.client.upload.state import state_folder
from portside.commands import put_by_session
from portside.operator.keystore import Keystore
from portside.tokens import unverified_claims
from tests.support.client.command import Run
from tests.support.client.control_double import ControlDouble, ControlHandler, hang_up, refuse
from tests.support.client.control_double import Fault as ControlFault
from tests.support.client.node_double import Handler, NodeDouble, refuse_at_once
from tests.support.client.tus_double import Fault, cut_after
from tests.support.client.tus_double import hang_up as cut
from tests.support.client.tus_double import refuse as no

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (retry, placed):
        monkeypatch.setattr(module, "SHORTEST_PAUSE", 0.001)
        monkeypatch.setattr(module, "LONGEST_PAUSE", 0.002)
    monkeypatch.setattr(put_by_session, "POLLS", Backoff(first=0.001, longest=0.002))


@pytest.fixture
def other() -> Iterator[NodeDouble]:
    double = NodeDouble(node_id="s02")
    yield double
    double.close()


@pytest.fixture
def two_nodes(logged_in: ControlDouble, node: NodeDouble, other: NodeDouble) -> ControlDouble:
    """A control plane whose first session is for s01, and all others for s02."""
    logged_in.targets = [node, other]
    return logged_in


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "x.iso"
    path.write_bytes(os.urandom(1000))
    return path


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "x.iso"
    path.write_bytes(os.urandom(20 * MIB + 1))
    return path


def put(path: Path, *arguments: str) -> Run:
    return Run("put", "--namespace", "isos", *arguments, str(path))


def test_a_node_that_is_named_is_asked_of_the_control_plane(
    logged_in: ControlDouble, node: NodeDouble, small: Path
) -> None:
    logged_in.targets = [node]
    assert put(small, "--node", "s01").code == 0
    assert put(small).code == 0
    assert [wish.node_id for wish in logged_in.wishes] == ["s01", None]


def test_a_named_node_that_takes_no_files_costs_no_byte(
    logged_in: ControlDouble, node: NodeDouble, small: Path
) -> None:
    logged_in.targets = [node]
    logged_in.faults.append(refuse(409, "node-closed"))
    run = put(small, "--node", "s01")
    assert run.code == 3
    assert "so says the double (409 node-closed); name another node with --node, or none" in run.err
    assert logged_in.sessions == []


def kept() -> list[Path]:
    """Notes of sessions and uploads that aren't finished."""
    folders = (state_folder("sessions"), state_folder())
    return [path for folder in folders if folder.exists() for path in folder.iterdir()]


def gone_from(count: int) -> Fault:
    """From `count` bytes on the node is gone."""

    def fault(handler: Handler) -> bool:
        if handler.command == "GET" or handler.double.tus.received < count:
            return False
        handler.double.tus.faults.append(fault)
        cut(handler)
        return True

    return fault


# -- the way it should go --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1000, 20 * MIB])
def test_a_file_goes_where_the_control_plane_says_which_gets_the_receipt(
    two_nodes: ControlDouble, node: NodeDouble, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "x.iso"
    path.write_bytes(os.urandom(size))
    run = put(path, "--owner", "me")
    assert (run.code, run.out) == (0, "https://s01.portside.test/uploads/isos/x.iso\n")
    wish = two_nodes.wishes[0]
    assert (wish.owner, wish.name, wish.namespace, wish.size) == ("me", "x.iso", "isos", size)
    assert [unverified_claims(receipt)["size"] for receipt in two_nodes.receipts] == [size]
    assert kept() == []


def test_checksum_is_told_to_the_control_plane(two_nodes: ControlDouble, small: Path) -> None:
    assert put(small, "--checksum").code == 0
    assert two_nodes.wishes[0].sha256 is not None


def test_each_file_gets_a_session_of_its_own(
    two_nodes: ControlDouble, small: Path, tmp_path: Path
) -> None:
    (tmp_path / "y.iso").write_bytes(b"y")
    assert put(small, str(tmp_path / "y.iso")).code == 0
    assert [wish.name for wish in two_nodes.wishes] == ["y.iso", "x.iso"]


def test_as_json_tells_the_files_state(two_nodes: ControlDouble, small: Path) -> None:
    said = json.loads(put(small, "--json").out)
    assert (said["state"], said["node_id"], said["exit_code"]) == ("committed", "s01", 0)


def test_who_names_a_node_or_has_a_token_asks_no_control_plane(
    two_nodes: ControlDouble, node: NodeDouble, keystore: Keystore, small: Path
) -> None:
    assert put(small, "--node", "s01", "--url", node.url).code == 0
    assert not two_nodes.requests


# -- nodes that are gone ---------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--no-resume",), ("--parallel", "2")])
def test_a_node_that_is_gone_before_the_first_byte_is_replaced(
    two_nodes: ControlDouble, node: NodeDouble, large: Path, arguments: tuple[str, ...]
) -> None:
    node.close()
    run = put(large, *arguments)
    assert (run.code, run.out) == (0, "https://s02.portside.test/uploads/isos/x.iso\n")
    assert "s01 took no byte" in run.err
    assert [wish.avoid for wish in two_nodes.wishes] == [(), ("s01",)]
    assert kept() == []


@pytest.mark.parametrize(("status", "slug"), [(503, "no-slot"), (507, "no-space")])
def test_a_node_that_cant_take_it_is_replaced(
    two_nodes: ControlDouble, node: NodeDouble, small: Path, large: Path, status: int, slug: str
) -> None:
    node.tus.faults = [no("POST", status, slug)]
    run = put(large)
    assert run.code == 0
    assert "https://s02" in run.out


def test_a_small_file_is_taken_elsewhere_too(
    two_nodes: ControlDouble, node: NodeDouble, small: Path
) -> None:
    node.on_headers = refuse_at_once(503, "no-slot", {"Retry-After": "1"})
    run = put(small)
    assert run.code == 0
    assert "https://s02" in run.out


def test_a_cluster_without_any_other_node_is_given_up_after_a_while(
    two_nodes: ControlDouble, node: NodeDouble, small: Path
) -> None:
    two_nodes.targets = [node]
    node.close()
    run = put(small)
    assert (run.code, run.out) == (4, "")
    assert len(two_nodes.wishes) == placed.ATTEMPTS
    assert "no connection" in run.err


def test_a_node_that_has_bytes_isnt_replaced_but_gone_on_with(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB)]
    run = put(large)
    assert run.code == 0
    assert "https://s01" in run.out
    assert len(two_nodes.wishes) == 1
    assert node.tus.received == large.stat().st_size


def test_the_same_command_goes_on_with_the_same_session(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB), gone_from(10 * MIB)]
    run = put(large)
    assert (run.code, run.out) == (4, "")
    assert "the same command goes on there" in run.err
    assert {path.stat().st_mode & 0o777 for path in kept()} == {0o600}
    node.tus.faults = []
    again = put(large)
    assert again.code == 0
    assert "resuming at 49 %" in again.err
    assert len(two_nodes.wishes) == 1
    assert node.tus.received == large.stat().st_size
    assert kept() == []


def test_a_node_that_has_bytes_is_waited_for_although_it_is_gone_at_the_next_run(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB), gone_from(10 * MIB)]
    put(large)
    node.close()
    run = put(large)
    assert run.code == 4
    assert "with --no-resume it starts over" in run.err
    assert len(two_nodes.wishes) == 1
    assert put(large, "--no-resume").code == 0


def test_a_session_whose_upload_is_gone_is_replaced_once(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB), no("HEAD", 410, "upload-expired")]
    run = put(large)
    assert run.code == 0
    assert "starting over with another session" in run.err
    assert "https://s02" in run.out


def test_a_session_that_expired_unused_is_replaced(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [no("POST", 401, "token-expired")]
    run = put(large)
    assert run.code == 0
    assert len(two_nodes.wishes) == 2


def test_a_changed_file_gets_a_new_session(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [cut_after(10 * MIB), gone_from(10 * MIB)]
    put(large)
    large.write_bytes(b"something else")
    run = put(large)
    assert run.code == 0
    assert "has changed" in run.err
    assert [wish.size for wish in two_nodes.wishes] == [20 * MIB + 1, 14]


def test_a_refusal_ends_the_session(
    two_nodes: ControlDouble, node: NodeDouble, large: Path
) -> None:
    node.tus.faults = [no("POST", 415, "type-refused")]
    run = put(large)
    assert run.code == 3
    assert "415 type-refused" in run.err
    assert kept() == []
    assert len(two_nodes.wishes) == 1


def test_a_node_whose_certificate_isnt_trusted_is_told_at_once(
    two_nodes: ControlDouble, keystore: Keystore, small: Path
) -> None:
    tls = NodeDouble(keystore.node_certificate("s01", "localhost"))
    two_nodes.targets = [tls]
    run = put(small)
    tls.close()
    assert run.code == 4
    assert "--ca" in run.err
    assert len(two_nodes.wishes) == 1


# -- the control plane's part ----------------------------------------------------------------------


def test_a_session_that_is_refused_is_told(two_nodes: ControlDouble, small: Path) -> None:
    two_nodes.faults = [refuse(413, "too-large")]
    run = put(small)
    assert (run.code, run.out) == (3, "")
    assert "413 too-large" in run.err


def test_an_answer_that_got_lost_opens_no_second_session(
    two_nodes: ControlDouble, small: Path
) -> None:
    two_nodes.faults = [hang_up]
    assert put(small).code == 0
    keys = [
        headers["idempotency-key"]
        for method, path, headers, _ in two_nodes.requests
        if path == "/api/v1/upload/sessions"
    ]
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_control_plane_that_doesnt_hear_of_it_makes_no_failure_of_it(
    two_nodes: ControlDouble, small: Path
) -> None:
    def at_the_receipt(handler: ControlHandler) -> bool:
        return bool(two_nodes.sessions) and refuse(500, "internal-error")(handler)

    two_nodes.faults = [at_the_receipt]
    run = put(small)
    assert run.code == 0
    assert "its node tells it too" in run.err


def test_wait_shows_each_state_until_the_file_is_safe(
    two_nodes: ControlDouble, small: Path
) -> None:
    two_nodes.states = ["replicating", "replicating", "safe"]
    run = put(small, "--wait")
    assert run.code == 0
    said = [line for line in run.err.splitlines() if line.startswith("portside: x.iso: ")]
    assert [line.split(": ")[2].split()[0] for line in said] == ["committed", "replicating", "safe"]


def test_wait_ends_at_its_timeout_and_the_url_is_told_all_the_same(
    two_nodes: ControlDouble, small: Path
) -> None:
    run = put(small, "--wait", "--timeout", "0s")
    assert (run.code, run.out) == (4, "https://s01.portside.test/uploads/isos/x.iso\n")
    assert "not safe after 0s" in run.err


@pytest.mark.parametrize("state", ["deleted", "lost"])
def test_wait_ends_when_the_file_is_no_more(
    two_nodes: ControlDouble, small: Path, state: str
) -> None:
    two_nodes.states = [state]
    run = put(small, "--wait")
    assert run.code == 4
    assert f"meanwhile {state}" in run.err


def test_wait_goes_on_while_the_control_plane_is_away(
    two_nodes: ControlDouble, small: Path
) -> None:
    def at_the_look(status: int, slug: str) -> ControlFault:
        def fault(handler: ControlHandler) -> bool:
            return bool(two_nodes.receipts) and refuse(status, slug)(handler)

        return fault

    two_nodes.faults = [at_the_look(500, "internal-error"), at_the_look(404, "not-found")]
    two_nodes.states = ["safe"]
    assert put(small, "--wait").code == 0


def test_wait_without_a_login_is_a_usage_error(small: Path, project: Path) -> None:
    run = put(small, "--wait")
    assert run.code == 2
    assert "portside login" in run.err


def test_a_note_that_is_over_is_not_gone_on_with(
    two_nodes: ControlDouble, node: NodeDouble, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.tus.faults = [cut_after(10 * MIB), gone_from(10 * MIB)]
    put(large)
    node.tus.faults = []
    later = time.time() + 3 * 3600
    monkeypatch.setattr("portside.client.upload.state.time.time", lambda: later)
    assert put(large).code == 0
    assert len(two_nodes.wishes) == 2
