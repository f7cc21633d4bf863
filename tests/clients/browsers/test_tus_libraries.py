"""tus-js-client and Uppy's Tus in browsers: stored, gone on with after a cut, refusals read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.clients.browsers import Browser
from tests.support.clients.cutting_proxy import CuttingProxy
from tests.support.clients.promises import (
    CUT,
    REFUSALS,
    SLACK,
    check_file,
    check_refused,
    upload_of,
)
from tests.support.protocol.nodes import Node

pytestmark = [
    pytest.mark.installed_clients,
    pytest.mark.parametrize("client", ["tus", "uppyTus"]),
]


def test_a_file_is_stored_under_its_name(
    browser: Browser, client: str, node: Node, source: Path
) -> None:
    upload = upload_of(node)
    answer = browser.upload(client, node.uploads, upload, source)
    assert answer.status in (200, 204), answer
    check_file(upload, source)


def test_an_upload_goes_on_after_a_cut(
    browser: Browser, client: str, node: Node, line: CuttingProxy, source: Path
) -> None:
    upload = upload_of(node)
    line.cut_after("up", CUT)
    asked = browser.requests(client, node.uploads, upload, source, retry=True)
    assert line.was_cut("up")
    check_file(upload, source)
    # How much was sent tells nothing: a browser sends a request again whose connection breaks.
    assert [method for method, _ in asked].count("POST") == 1
    assert asked[-1] == ["PATCH", max(offset for _, offset in asked)]
    assert CUT - SLACK <= asked[-1][1] < source.stat().st_size


def test_a_refusal_is_read(browser: Browser, client: str, node: Node, source: Path) -> None:
    for refusal in REFUSALS:
        upload = upload_of(node, **refusal.claims)
        answer = browser.upload(client, node.uploads, upload, source, refusal)
        check_refused(answer, refusal)
