"""axios in browsers: requests one by one, from a page of another origin."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clients.browsers import Axios, Browser
from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.promises import (
    check_download,
    check_refusals,
    check_resumed_download,
    check_resumed_upload,
    check_whole_upload,
)
from tests.support.protocol.nodes import Node

pytestmark = pytest.mark.installed_clients


@pytest.fixture
def axios(browser: Browser) -> Axios:
    return Axios(browser)


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_file_is_stored_under_its_name(
    axios: Axios, node: Node, source: Path, form: bool
) -> None:
    check_whole_upload(axios, node, source, form=form)


def test_an_upload_goes_on_after_a_cut(
    axios: Axios, node: Node, line: CuttingProxy, source: Path
) -> None:
    check_resumed_upload(axios, node, line, source)


@pytest.mark.parametrize("form", [True, False], ids=["form", "raw"])
def test_a_refusal_is_read(axios: Axios, node: Node, source: Path, form: bool) -> None:
    check_refusals(axios, node, source, form=form)


def test_a_file_is_downloaded_under_its_name(axios: Axios, node: Node, tmp_path: Path) -> None:
    check_download(axios, node, tmp_path)


def test_a_download_goes_on_after_a_cut(
    axios: Axios, node: Node, line: CuttingProxy, tmp_path: Path
) -> None:
    check_resumed_download(axios, node, line, tmp_path)
