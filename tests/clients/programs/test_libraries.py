"""HTTP libraries of other languages, driven as apps drive them: one program each."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.programs import PROGRAMS, PYTHON, MakeProgram, Program
from tests.support.clients.promises import (
    check_download,
    check_refusals,
    check_resumed_download,
    check_resumed_upload,
    check_whole_upload,
)
from tests.support.protocol.nodes import Node

pytestmark = pytest.mark.installed_clients

OLD = ["requests 2.22"] if sys.version_info < (3, 12) else []
"""What a new Python can't run: urllib3 1.24 needs its module imp."""


@pytest.fixture(
    params=[
        "HttpURLConnection",
        "HttpClient",
        "Net::HTTP",
        "aiohttp",
        *OLD,
    ]
)
def client(request: pytest.FixtureRequest, program: MakeProgram, java: list[str]) -> Program:
    """A program that sends requests with this library."""
    match request.param:
        case "HttpURLConnection":
            command = [*java, "ByUrlConnection"]
        case "HttpClient":
            command = [*java, "ByHttpClient"]
        case "Net::HTTP":
            command = ["ruby", str(PROGRAMS / "net_http.rb")]
        case "aiohttp":
            command = [str(PYTHON), str(PROGRAMS / "by_aiohttp.py")]
        case _:
            command = [str(PYTHON), str(PROGRAMS / "by_requests.py")]
    return program(*command)


@pytest.fixture
def bare(client: Program) -> tuple[int, ...]:
    """HttpURLConnection hides the body of a 401 from whoever streams: it would ask once more."""
    return (401,) if "ByUrlConnection" in client.command else ()


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_file_is_stored_under_its_name(
    client: Program, node: Node, source: Path, form: bool
) -> None:
    check_whole_upload(client, node, source, form=form)


def test_an_upload_goes_on_after_a_cut(
    client: Program, node: Node, line: CuttingProxy, source: Path
) -> None:
    check_resumed_upload(client, node, line, source)


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_refusal_is_read(
    client: Program, node: Node, source: Path, form: bool, bare: tuple[int, ...]
) -> None:
    check_refusals(client, node, source, form=form, bare=bare)


def test_a_file_is_downloaded_under_its_name(client: Program, node: Node, tmp_path: Path) -> None:
    check_download(client, node, tmp_path)


def test_a_download_goes_on_after_a_cut(
    client: Program, node: Node, line: CuttingProxy, tmp_path: Path
) -> None:
    check_resumed_download(client, node, line, tmp_path)
