"""curl: -T and -F, tus by hand, -C - and --continue-at for what was cut."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.programs import run
from tests.support.clients.promises import (
    Body,
    Download,
    LineCut,
    check_download_goes_on,
    check_refusals,
    check_resumed_upload,
    check_whole_upload,
    stored_text,
)
from tests.support.protocol.nodes import Node
from tests.support.protocol.requests_by_hand import Answer

pytestmark = pytest.mark.installed_clients


class Curl:
    """`promises.Client` by the command that a person types."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment

    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        save: Path | None = None,
    ) -> Answer:
        head, place = self.folder / "head", save or self.folder / "answer"
        place.write_bytes(b"")
        words = ["--dump-header", str(head), "--output", str(place)]
        words += ["--head"] if method == "HEAD" else ["--request", method]
        for name, value in headers.items():
            words += ["--header", f"{name}: {value}"]
        if body is not None and body.form:
            words += ["--form", f"file=@{body.file}"]
        elif body is not None:
            rest = self.folder / "rest"
            rest.write_bytes(body.file.read_bytes()[body.offset :])
            words += ["--upload-file", str(rest)]
        self.run(*words, url)
        # An interim "100 Continue" comes before the answer.
        last = head.read_text().replace("\r\n", "\n").strip().split("\n\n")[-1]
        first, *lines = last.splitlines()
        pairs = (line.partition(":") for line in lines)
        told = {name.title(): value.strip() for name, _, value in pairs}
        return Answer(int(first.split()[1]), told, place.read_bytes())

    def run(self, *words: str) -> str:
        command = ["curl", "--silent", "--show-error", *words]
        return run(command, self.environment, self.folder)


@pytest.fixture
def curl(tmp_path: Path, environment: dict[str, str]) -> Curl:
    return Curl(tmp_path, environment)


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_file_is_stored_under_its_name(curl: Curl, node: Node, source: Path, form: bool) -> None:
    check_whole_upload(curl, node, source, form=form)


def test_an_upload_goes_on_after_a_cut(
    curl: Curl, node: Node, line: CuttingProxy, source: Path
) -> None:
    check_resumed_upload(curl, node, line, source)


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_refusal_is_read(curl: Curl, node: Node, source: Path, form: bool) -> None:
    check_refusals(curl, node, source, form=form)


def test_a_file_is_downloaded_under_its_name(curl: Curl, node: Node, tmp_path: Path) -> None:
    download = stored_text(node)
    curl.run("--remote-name", "--remote-header-name", download.url)
    # curl takes `filename` and doesn't know `filename*`; without -J it takes the URL's end.
    assert (tmp_path / "Gr__e___.txt").read_bytes() == download.content
    assert curl.run("--head", "--write-out", "%{content_type}", "-o", "head", download.url)


def test_a_download_goes_on_after_a_cut(curl: Curl, node: Node, line: CuttingProxy) -> None:
    def fetch(download: Download) -> Path:
        words = ("--continue-at", "-", "--output", "saved", download.url)
        with pytest.raises(LineCut):
            curl.run(*words)
        curl.run(*words)
        return curl.folder / "saved"

    check_download_goes_on(fetch, node, line)
