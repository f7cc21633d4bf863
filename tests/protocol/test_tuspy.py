"""tuspy, the Python client of tus, through nginx: chunks with checksums, resuming, retrying."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError
from tusclient.uploader.uploader import Uploader

from portside.quantities import MIB
from tests.support.protocol.checks import check_nothing_left_behind, check_stored, files_of
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import Tus


@pytest.fixture(autouse=True)
def trusting_the_node(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(node.ca))
    yield
    check_nothing_left_behind(node.agent)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.bin"
    path.write_bytes(os.urandom(5 * MIB + 77))
    return path


def _receipt(talker: Tus, source: Path) -> str:
    """tus's last answer has no body: who wants the receipt asks once more."""
    return talker.create(source.stat().st_size).text


def _uploader(node: Node, talker: Tus, source: Path, **options: Any) -> Uploader:
    client = TusClient(node.uploads, headers={"Authorization": f"Bearer {talker.token}"})
    # A stream, for tuspy opens a path again and again and leaves the closing to chance.
    return client.uploader(file_stream=io.BytesIO(source.read_bytes()), **options)


def test_chunks_with_checksums_make_the_file(node: Node, source: Path) -> None:
    talker = Tus(node.agent)
    uploader = _uploader(node, talker, source, chunk_size=1 * MIB, upload_checksum=True)
    uploader.upload()
    check_stored(talker, _receipt(talker, source), source.read_bytes())


def test_one_request_makes_the_file_and_metadata_names_it(node: Node, source: Path) -> None:
    talker = Tus(node.agent, name=None, layout="named")
    uploader = _uploader(node, talker, source, metadata={"filename": "für später.bin"})
    uploader.upload()
    (stored,) = files_of(talker)
    assert (stored.name, stored.read_bytes()) == ("für_später.bin", source.read_bytes())


def test_an_empty_file_is_stored(node: Node, source: Path) -> None:
    source.write_bytes(b"")
    talker = Tus(node.agent)
    _uploader(node, talker, source).upload()
    assert [path.read_bytes() for path in files_of(talker)] == [b""]


def test_an_upload_is_resumed_by_its_url(node: Node, source: Path) -> None:
    talker = Tus(node.agent)
    first = _uploader(node, talker, source, chunk_size=1 * MIB)
    first.upload(stop_at=2 * MIB)
    assert files_of(talker) == []
    second = _uploader(node, talker, source, chunk_size=1 * MIB, url=first.url)
    assert second.offset == 2 * MIB
    second.upload()
    check_stored(talker, _receipt(talker, source), source.read_bytes())


def test_a_restart_in_between_is_retried(node: Node, source: Path) -> None:
    talker = Tus(node.agent)
    uploader = _uploader(
        node, talker, source, chunk_size=1 * MIB, retries=600, retry_delay=0.1, upload_checksum=True
    )
    uploader.upload(stop_at=2 * MIB)
    node.agent.kill()
    start = threading.Timer(0.3, node.agent.start)
    start.start()
    uploader.upload()
    start.join()
    check_stored(talker, _receipt(talker, source), source.read_bytes())


def test_resuming_ends_with_the_session(node: Node, source: Path) -> None:
    talker = Tus(node.agent)
    first = _uploader(node, talker, source, chunk_size=1 * MIB)
    first.upload(stop_at=1 * MIB)
    past = int(time.time()) - 120
    late = talker.again(exp=past, session_deadline=past)
    with pytest.raises(TusCommunicationError, match="410"):
        _uploader(node, late, source, url=first.url)
    second = _uploader(node, talker, source, url=first.url)
    second.upload()
    check_stored(talker, _receipt(talker, source), source.read_bytes())
