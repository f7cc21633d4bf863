"""Backups in a bucket of a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from portside.backup.places import S3, PlaceError
from portside.bucket import Bucket
from tests.support.agent.s3_server import ACCESS_KEY, SECRET_KEY, S3Server

NAME = "lab-20261201T030405Z.portside-backup.tar"
KEYS = f"[default]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    server.client.create_bucket(Bucket="backups")
    yield server
    server.stop()


def _place(server: S3Server, bucket: str = "backups", keys: str = KEYS) -> S3:
    endpoint = f"http://127.0.0.1:{server.port}"
    return S3(Bucket(endpoint=endpoint, bucket=bucket, prefix="portside/"), keys)


def test_a_backup_goes_to_a_bucket_is_listed_and_comes_back(
    server: S3Server, tmp_path: Path
) -> None:
    place, path = _place(server), tmp_path / "backup"
    path.write_bytes(b"a backup" * 1000)
    server.client.put_object(Bucket="backups", Key="portside/backups/mine.txt", Body=b"x")
    assert place.put(path, NAME) == f"s3://backups/portside/backups/{NAME}"
    assert place.names() == [NAME], "what else lies there is nobody's business"
    place.get(NAME, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == path.read_bytes()
    assert not place.private, "whoever reads the bucket reads no backup"


def test_a_bucket_that_is_none_or_refuses_us_is_a_line(server: S3Server, tmp_path: Path) -> None:
    wrong = KEYS.replace(SECRET_KEY, "wrong")
    for place in (_place(server, bucket="elsewhere"), _place(server, keys=wrong)):
        with pytest.raises(PlaceError, match=r"^bucket \w+: [^\n]+$"):
            place.names()
    with pytest.raises(PlaceError, match="can't be read") as refused:
        _place(server, keys=f"{KEYS}nonsense")
    assert SECRET_KEY not in str(refused.value)


def test_a_keys_file_that_misses_a_key_is_a_line(server: S3Server) -> None:
    for missing in KEYS.splitlines()[1:]:
        with pytest.raises(PlaceError, match="can't be read") as refused:
            _place(server, keys=KEYS.replace(f"{missing}\n", ""))
        assert SECRET_KEY not in str(refused.value)


def test_a_disk_that_takes_no_backup_is_a_line(server: S3Server, tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(b"a backup" * 100_000)
    place = _place(server)
    place.put(path, NAME)
    with pytest.raises(PlaceError, match="/dev/full: it can't be written: No space left"):
        place.get(NAME, Path("/dev/full"))
