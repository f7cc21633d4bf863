"""Dropzone and Uppy's XHRUpload in browsers: a form each."""

from __future__ import annotations

from pathlib import Path

import pytest

from portside.quantities import MIB
from tests.support.clients.browsers import Browser
from tests.support.clients.promises import (
    REFUSALS,
    check_file,
    check_refused,
    form_url,
    upload_of,
)
from tests.support.protocol.checks import check_stored, files_of
from tests.support.protocol.nodes import Node

pytestmark = pytest.mark.installed_clients

both = pytest.mark.parametrize("client", ["dropzone", "uppyXhr"])


@both
def test_a_file_is_stored_under_its_name(
    browser: Browser, client: str, node: Node, source: Path
) -> None:
    upload = upload_of(node)
    answer = browser.upload(client, form_url(node), upload, source)
    assert answer.status in (200, 201), answer
    check_stored(upload, answer.body, source.read_bytes())
    check_file(upload, source)


@both
def test_a_refusal_is_read(browser: Browser, client: str, node: Node, source: Path) -> None:
    for refusal in REFUSALS:
        upload = upload_of(node, **refusal.claims)
        check_refused(browser.upload(client, form_url(node), upload, source, refusal), refusal)
        assert files_of(upload) == []


def test_chunks_of_a_form_are_refused_with_where_to_send_them(
    browser: Browser, node: Node, source: Path
) -> None:
    upload = upload_of(node)
    options = {"chunking": True, "forceChunking": True, "chunkSize": 2 * MIB}
    answer = browser.upload("dropzone", form_url(node), upload, source, options=options)
    assert 400 <= answer.status < 500
    assert b"/api/v1/uploads" in answer.body
    assert files_of(upload) == []
