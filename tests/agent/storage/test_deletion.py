"""Deleting a file: gone at once, for good, whatever happens in the middle; its space comes back."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from agent.storage.attributes import Attributes
from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.agent.interruption import injected
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access, ask, attributes_of, data_of, flip_a_bit, stored


def _delete(agent: Agent, file: StoredFile) -> requests.Response:
    return ask(agent, "DELETE", f"/{file.file_id}", access(agent, rights=("delete",)))


def _assert_deleted(agent: Agent, file: StoredFile) -> None:
    for method, path in (("GET", ""), ("GET", "/content"), ("POST", "/verify")):
        answer = ask(agent, method, f"/{file.file_id}{path}", access(agent))
        assert (answer.status_code, slug_of(answer)) == (410, "file-deleted")
    listed = ask(agent, "GET", f"?namespace={file.namespace}", access(agent)).json()["files"]
    assert file.file_id not in [each["file_id"] for each in listed]
    assert not data_of(agent, file).exists()
    assert list((agent.root / "staging").iterdir()) == []


def _tombstone(path: Path) -> Attributes:
    return Attributes.model_validate_json(path.read_bytes())


def _used(root: Path) -> int:
    found = os.statvfs(root)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def test_a_deleted_file_is_gone_and_its_tombstone_stays(agent: Agent) -> None:
    file, kept = (stored(agent, "a.bin", b"x") for _ in range(2))
    done = _delete(agent, file)
    assert (done.status_code, done.content) == (204, b"")
    _assert_deleted(agent, file)
    left = _tombstone(attributes_of(agent, file))
    assert left.stored() == file
    assert left.deleted_at is not None
    assert ask(agent, "GET", f"/{kept.file_id}").status_code == 200
    agent.kill()
    agent.start()
    _assert_deleted(agent, file)


def test_deleting_again_is_no_mistake(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    assert [_delete(agent, file).status_code for _ in range(2)] == [204, 204]


def test_its_space_is_free_when_the_answer_comes(
    make_agent: Callable[..., Agent], small_disk: Path
) -> None:
    # On a disk of its own: others write to the computer's.
    agent = make_agent(root=small_disk)
    agent.start()
    before = _used(agent.root)
    file = stored(agent, "a.bin", os.urandom(30 * MIB))
    full = _used(agent.root)
    assert full - before > 28 * MIB
    _delete(agent, file)
    assert full - _used(agent.root) > 28 * MIB


def test_the_name_is_free_and_the_token_is_not(agent: Agent) -> None:
    claims = agent.claims(layout="named")
    token = agent.mint(**dict(claims))
    first = StoredFile.model_validate(agent.put("a.bin", b"first", token).json())
    taken = agent.put("a.bin", b"second", agent.mint(layout="named"))
    assert (taken.status_code, slug_of(taken)) == (409, "name-taken")
    _delete(agent, first)
    again = agent.put("a.bin", b"first", token)
    assert (again.status_code, slug_of(again)) == (409, "token-used")
    second = stored(agent, "a.bin", b"second", layout="named")
    assert second.path == first.path
    assert _tombstone(attributes_of(agent, second)).deleted_at is None
    # Deleting the first once more must not touch what has its name now.
    assert _delete(agent, first).status_code == 204
    assert data_of(agent, second).read_bytes() == b"second"
    assert ask(agent, "GET", f"/{second.file_id}").status_code == 200
    assert ask(agent, "GET", f"/{first.file_id}").status_code == 410


def test_many_who_delete_at_once_all_hear_that_it_is_gone(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(_delete(agent, file).status_code))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [204] * 8
    _assert_deleted(agent, file)


def test_a_damaged_file_can_be_deleted_too(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x", layout="named")
    flip_a_bit(data_of(agent, file))
    ask(agent, "POST", f"/{file.file_id}/verify", access(agent))
    second = stored(agent, "a.bin", b"second", layout="named")
    assert _delete(agent, file).status_code == 204
    left = list((agent.root / "quarantine").iterdir())
    assert [path.name for path in left] == [f"{file.file_id}.attr.json"]
    assert _tombstone(left[0]).deleted_at is not None
    assert ask(agent, "GET", f"/{file.file_id}").status_code == 410
    assert data_of(agent, second).read_bytes() == b"second"


def test_a_file_whose_data_is_missing_already_can_be_deleted(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    for path in (data_of(agent, file), attributes_of(agent, file)):
        path.unlink()
    data_of(agent, file).parent.rmdir()
    assert _delete(agent, file).status_code == 204
    _assert_deleted(agent, file)


@pytest.mark.parametrize(
    ("call", "occurrence"),
    [
        # Every sync and change of a name, in order.
        ("fdatasync", 1),  # the row: DELETING
        ("fsync", 1),  # the tombstone, not in its place yet
        ("rename", 1),  # the tombstone into its place
        ("rename", 2),  # the data out of its place
        ("fsync", 2),  # the file's folder
        ("fsync", 3),  # staging
        ("fdatasync", 2),  # the row: DELETED
        ("unlink", 1),  # the space
    ],
)
def test_a_kill_at_any_step_is_finished_at_the_next_start(
    agent: Agent, call: str, occurrence: int
) -> None:
    file, kept = (stored(agent, f"{n}.bin", b"x", layout="named") for n in ("a", "b"))
    with (
        injected(agent, f"{call}:signal=KILL:when={occurrence}"),
        pytest.raises(requests.ConnectionError),
    ):
        _delete(agent, file)
    agent.kill()
    agent.start()
    _assert_deleted(agent, file)
    left = _tombstone(attributes_of(agent, file))
    assert left.deleted_at is not None
    assert left.deletion_order is not None, "what proves it to the control plane is there too"
    assert _delete(agent, file).status_code == 204
    assert data_of(agent, kept).read_bytes() == b"x"
    assert stored(agent, "a.bin", b"new", layout="named").path == file.path


def test_a_failed_sync_fails_the_deletion_and_turns_the_node_read_only(agent: Agent) -> None:
    file, other = (stored(agent, "a.bin", b"x") for _ in range(2))
    with injected(agent, "fsync:error=EIO:when=1"):
        failed = _delete(agent, file)
    assert (failed.status_code, slug_of(failed)) == (500, "storage-failed")
    refused = _delete(agent, other)
    assert (refused.status_code, slug_of(refused)) == (503, "read-only")
    assert data_of(agent, other).exists()
    agent.kill()
    agent.start()
    _assert_deleted(agent, file)


@pytest.mark.parametrize("error", ["ENOSPC", "EDQUOT"])
def test_a_step_without_room_is_done_with_that_of_the_reserve(agent: Agent, error: str) -> None:
    file = stored(agent, "a.bin", b"x")
    with injected(agent, f"rename:error={error}:when=1"):
        assert _delete(agent, file).status_code == 204
    _assert_deleted(agent, file)


def test_without_a_reserve_the_deletion_fails_and_a_second_try_is_worth_it(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    with injected(agent, "rename:error=ENOSPC"):
        failed = _delete(agent, file)
    assert (failed.status_code, slug_of(failed)) == (507, "no-space")
    assert ask(agent, "GET", f"/{file.file_id}").status_code == 410
    assert _delete(agent, file).status_code == 204
    _assert_deleted(agent, file)
