"""Clients of tus: tus-java-client's requests as they go over the wire, tuspy, and aiotus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError

from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.programs import PROGRAMS, PYTHON, MakeProgram, run
from tests.support.clients.promises import (
    REFUSALS,
    LineCut,
    Refusal,
    check_file,
    check_resumed_upload,
    check_tus_refusals,
    check_tus_upload,
    check_uploader_goes_on,
    upload_of,
)
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import Tus

pytestmark = pytest.mark.installed_clients

Send = Callable[..., None]


@pytest.fixture
def tuspy(
    node: Node, source: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Send:
    """tuspy sends the file, trying as often as it is told."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", environment["REQUESTS_CA_BUNDLE"])

    def send(upload: Tus, refusal: Refusal | None = None) -> None:
        token = {} if refusal and not refusal.token else {"Authorization": f"Bearer {upload.token}"}
        with source.open("rb") as stream:
            TusClient(node.uploads, headers=token).uploader(
                file_stream=stream,
                metadata={"filename": refusal.name if refusal else source.name},
                retries=0 if refusal else 3,
                retry_delay=0,
            ).upload()

    return send


@pytest.fixture
def aiotus(node: Node, source: Path, environment: dict[str, str]) -> Send:
    """aiotus sends the file, trying as often as it is told."""

    def send(upload: Tus, refusal: Refusal | None = None) -> None:
        token = "" if refusal and not refusal.token else upload.token
        file = source.with_name(refusal.name) if refusal else source
        if file != source:
            file.write_bytes(source.read_bytes())
        words = [node.uploads, token, str(file), "1" if refusal else "5"]
        run([str(PYTHON), str(PROGRAMS / "by_aiotus.py"), *words], environment)

    return send


@pytest.fixture(params=["tuspy", "aiotus"])
def send(request: pytest.FixtureRequest) -> Send:
    """A client that sends a whole file by itself."""
    found: Send = request.getfixturevalue(request.param)
    return found


class TestTusJavaClient:
    def test_a_file_is_stored_under_its_name(
        self, program: MakeProgram, java: list[str], node: Node, source: Path
    ) -> None:
        check_tus_upload(program(*java, "ByUrlConnection"), node, source)

    def test_an_upload_goes_on_after_a_cut(
        self,
        program: MakeProgram,
        java: list[str],
        node: Node,
        line: CuttingProxy,
        source: Path,
    ) -> None:
        check_resumed_upload(program(*java, "ByUrlConnection"), node, line, source)

    def test_a_refusal_is_read(
        self, program: MakeProgram, java: list[str], node: Node, source: Path
    ) -> None:
        check_tus_refusals(program(*java, "ByUrlConnection"), node, source)


def test_a_file_is_stored_under_its_name(send: Send, node: Node, source: Path) -> None:
    upload = upload_of(node)
    send(upload)
    check_file(upload, source)


def test_an_upload_goes_on_after_a_cut(
    send: Send, node: Node, line: CuttingProxy, source: Path
) -> None:
    check_uploader_goes_on(send, node, line, source)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.slug)
def test_a_refusal_is_read(send: Send, node: Node, refusal: Refusal) -> None:
    with pytest.raises((TusCommunicationError, LineCut), match=f"\\b{refusal.status}\\b") as caught:
        send(upload_of(node, **refusal.claims), refusal)
    # aiotus logs the status alone.
    if isinstance(caught.value, TusCommunicationError):
        assert refusal.slug.encode() in caught.value.response_content
