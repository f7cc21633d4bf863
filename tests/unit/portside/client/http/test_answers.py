"""What a failed request says: the cause that a person can act on."""

from __future__ import annotations

import requests

from portside.client.http.answers import innermost


def test_a_proxy_that_doesnt_speak_http_is_told_with_what_would() -> None:
    error = requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support.")
    assert "a proxy that speaks HTTP in HTTPS_PROXY" in innermost(error)
