"""wget, aria2 and rclone, which fetch files and go on with what was cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.programs import run
from tests.support.clients.promises import (
    REFUSALS,
    Download,
    LineCut,
    authorization,
    check_download_goes_on,
    check_file,
    put_url,
    stored_text,
    upload_of,
)
from tests.support.protocol.checks import files_of
from tests.support.protocol.nodes import Node

pytestmark = pytest.mark.installed_clients

Command = Callable[..., str]


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """Runs a command line in the test's folder."""
    return lambda *words: run(words, environment, tmp_path)


@pytest.fixture
def wget(node: Node, command: Command) -> Command:
    # By itself it writes some letters of names as %XX.
    options = ("--no-verbose", "--restrict-file-names=nocontrol", f"--ca-certificate={node.ca}")
    return lambda *words: command("wget", *options, *words)


@pytest.fixture
def aria2(node: Node, command: Command) -> Command:
    options = ("--quiet", "--no-conf", f"--ca-certificate={node.ca}", "--file-allocation=none")
    return lambda *words: command("aria2c", *options, *words)


@pytest.fixture
def rclone(node: Node, command: Command, tmp_path: Path) -> Command:
    options = ("--config", str(tmp_path / "rclone.conf"), "--ca-cert", str(node.ca))
    return lambda *words: command("rclone", *options, *words)


@pytest.fixture
def from_rclones_remote(node: Node, rclone: Command, tmp_path: Path) -> Callable[[Download], Path]:
    """Copies a file from a remote of the kind `http`."""

    def fetch(download: Download) -> Path:
        place = download.url.removeprefix(f"{node.url}/")
        saved = tmp_path / "saved"
        rclone("copyto", "--http-url", node.url, f":http:{place}", str(saved))
        return saved

    return fetch


class TestWget:
    def test_a_file_is_stored_under_its_name(self, wget: Command, node: Node, source: Path) -> None:
        upload = upload_of(node)
        (token,) = (f"{name}: {value}" for name, value in authorization(upload).items())
        words = ("--method=PUT", f"--body-file={source}", f"--header={token}")
        wget(*words, "--output-document=answer", put_url(node))
        check_file(upload, source)

    def test_a_refusal_is_read(self, wget: Command, node: Node, source: Path) -> None:
        for refusal in REFUSALS:
            upload = upload_of(node, **refusal.claims)
            token = f"Authorization: Bearer {upload.token}" if refusal.token else "X-Nothing: x"
            words = ("--method=PUT", f"--body-file={source}", f"--header={token}")
            answer = ("--server-response", "--content-on-error", "--output-document=answer")
            with pytest.raises(LineCut, match=f"HTTP/1.1 {refusal.status}"):
                wget(*words, *answer, put_url(node, refusal.name))
            # What comes with a 401 wget doesn't look at.
            if refusal.status != 401:
                assert refusal.slug in (source.parent / "answer").read_text()
            assert files_of(upload) == []

    def test_a_file_is_downloaded_under_its_name(
        self, wget: Command, node: Node, tmp_path: Path
    ) -> None:
        download = stored_text(node)
        wget(download.url)
        assert (tmp_path / download.stored.name).read_bytes() == download.content

    @pytest.mark.parametrize("by_itself", [True, False])
    def test_a_download_goes_on_after_a_cut(
        self, wget: Command, node: Node, line: CuttingProxy, tmp_path: Path, by_itself: bool
    ) -> None:
        def fetch(download: Download) -> Path:
            if not by_itself:
                with pytest.raises(LineCut):
                    wget("--tries=1", download.url)
            wget("--tries=3", *(() if by_itself else ("--continue",)), download.url)
            return tmp_path / download.stored.name

        check_download_goes_on(fetch, node, line)


class TestAria2:
    def test_a_refusal_is_read(self, aria2: Command, node: Node) -> None:
        with pytest.raises(LineCut, match="ended with 24"):  # HTTP authorization failed
            aria2(private_url(node))

    def test_a_file_is_downloaded_under_its_name(
        self, aria2: Command, node: Node, tmp_path: Path
    ) -> None:
        download = stored_text(node)
        aria2("--max-connection-per-server=16", "--split=16", "--min-split-size=1M", download.url)
        assert (tmp_path / download.stored.name).read_bytes() == download.content

    @pytest.mark.parametrize("connections", [1, 4])
    def test_a_download_goes_on_after_a_cut(
        self, aria2: Command, node: Node, line: CuttingProxy, tmp_path: Path, connections: int
    ) -> None:
        def fetch(download: Download) -> Path:
            words = (f"--split={connections}", "--min-split-size=1M", "--retry-wait=0")
            aria2(*words, f"--max-connection-per-server={connections}", download.url)
            return tmp_path / download.stored.name

        check_download_goes_on(fetch, node, line)


class TestRclone:
    def test_a_refusal_is_read(self, rclone: Command, node: Node) -> None:
        with pytest.raises(LineCut, match="401"):
            rclone("copyurl", "--retries=1", private_url(node), "saved")

    def test_a_file_is_downloaded_under_its_name(
        self, rclone: Command, node: Node, tmp_path: Path
    ) -> None:
        download = stored_text(node)
        rclone("copyurl", "--auto-filename", download.url, "folder")
        assert (tmp_path / "folder" / download.stored.name).read_bytes() == download.content

    def test_a_download_goes_on_after_a_cut(
        self, from_rclones_remote: Callable[[Download], Path], node: Node, line: CuttingProxy
    ) -> None:
        check_download_goes_on(from_rclones_remote, node, line)


def private_url(node: Node) -> str:
    """A file that takes a token to be read."""
    upload = upload_of(node, namespace="private")
    answer = node.agent.put(quote(f"{upload.claims.file_id}.txt"), b"secret", upload.token)
    place = urlsplit(answer.json()["direct_url"]).path
    return f"{node.url}{place}"
