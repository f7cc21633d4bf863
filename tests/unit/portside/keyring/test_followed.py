"""A key that is replaced on disk signs and counts from then on, without a restart."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from portside import durable_file
from portside.keyring.followed_file import FollowedFile
from portside.keyring.signing import FollowedKey
from portside.tokens import SigningKey, key_id

FIRST, SECOND = (SigningKey.generate("s01") for _ in range(2))


def put(path: Path, content: str) -> None:
    durable_file.replace(path, content.encode(), 0o600)


def read(path: Path) -> SigningKey:
    return SigningKey.from_json(path.read_text())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    put(tmp_path / "node.key", FIRST.to_json())
    return tmp_path / "node.key"


def test_the_next_signature_is_the_next_keys(path: Path) -> None:
    key = FollowedKey(path, read)
    assert key_id(key.sign("x", {})) == key.kid == FIRST.kid
    put(path, SECOND.to_json())
    assert key_id(key.sign("x", {})) == key.kid == key.public().kid == SECOND.kid
    assert (key.owner, key.to_json()) == ("s01", SECOND.to_json())


@pytest.mark.parametrize("content", [None, "", "{}", "{"], ids=["gone", "empty", "none", "cut"])
def test_what_cant_be_read_leaves_in_force_what_was(path: Path, content: str | None) -> None:
    key = FollowedKey(path, read)
    if content is None:
        path.unlink()
    else:
        put(path, content)
    assert key.kid == FIRST.kid
    put(path, SECOND.to_json())
    assert key.kid == SECOND.kid


def test_a_key_that_others_had_to_make_readable_is_read_once_it_is(path: Path) -> None:
    def readable(path: Path) -> SigningKey:
        if not path.stat().st_mode & 0o040:
            raise PermissionError(path)
        return read(path)

    path.chmod(0o640)
    key = FollowedKey(path, readable)
    put(path, SECOND.to_json())
    assert key.kid == FIRST.kid
    path.chmod(0o640)
    assert key.kid == SECOND.kid


def test_to_begin_with_there_has_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FollowedKey(tmp_path / "none", read)


def test_a_file_that_stays_is_read_once(path: Path) -> None:
    times: list[Path] = []
    followed = FollowedFile(path, times.append)
    for _ in range(9):
        followed.current()
    assert times == [path]


def test_many_threads_see_a_whole_key_while_it_changes(path: Path) -> None:
    key, seen = FollowedKey(path, read), set[str]()

    def sign() -> None:
        for _ in range(50):
            seen.add(key_id(key.sign("x", {})))

    threads = [threading.Thread(target=sign) for _ in range(4)]
    for each in threads:
        each.start()
    for now in (SECOND, FIRST, SECOND):
        put(path, now.to_json())
    for each in threads:
        each.join()
    assert seen <= {FIRST.kid, SECOND.kid}
    assert key.kid == SECOND.kid
