"""A link to a file, clicked: what the browser saves, and what it does when the line breaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clients.browsers import Browser
from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.promises import NAME, Download, check_download_goes_on, stored_text
from tests.support.loopback import wait_until
from tests.support.protocol.nodes import Node

pytestmark = pytest.mark.installed_clients


def _saved(browser: Browser, download: Download) -> Path:
    """The file that a click on its link brings; it has another name until it is whole."""
    place = browser.downloads / download.stored.name
    place.unlink(missing_ok=True)
    browser.visit("link", None, endpoint=download.url)
    wait_until(lambda: place.exists() and place.stat().st_size == len(download.content))
    return place


def test_a_file_is_downloaded_under_its_name(browser: Browser, node: Node) -> None:
    download = stored_text(node, NAME)
    assert _saved(browser, download).read_bytes() == download.content


# Firefox waits for a click on its list of downloads.
@pytest.mark.parametrize(
    "browser",
    [pytest.param("chromium", marks=pytest.mark.xdist_group("chromium"))],
    indirect=True,
)
def test_a_download_goes_on_after_a_cut(browser: Browser, node: Node, line: CuttingProxy) -> None:
    check_download_goes_on(lambda download: _saved(browser, download), node, line, NAME)
