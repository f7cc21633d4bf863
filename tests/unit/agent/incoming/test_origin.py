"""An answer leads back to where its client came from, whatever the node's own name is."""

from __future__ import annotations

import pytest

from agent.incoming.origin import client_origin
from agent.incoming.request_head import RequestHead


def _origin(**headers: str) -> str:
    environ = {f"HTTP_{name.upper()}": value for name, value in headers.items()}
    request = {"REQUEST_METHOD": "POST", "RAW_URI": "/api/v1/uploads", **environ}
    return client_origin(RequestHead.of_request(request), "https")


@pytest.mark.parametrize(
    "host",
    [
        "s01.example.net",
        "s01.example.net:8443",
        "localhost:2222",
        "192.0.2.7",
        "[2001:db8::1]:8443",
        "files_cdn.example.com",
    ],
)
def test_the_name_that_was_asked_is_told(host: str) -> None:
    assert _origin(host=host) == f"https://{host}"
    proxied = _origin(host=host, x_forwarded_host=host, x_original_forwarded_proto="https")
    assert proxied == f"https://{host}"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="no name at all"),
        pytest.param({"host": "a/b"}, id="no name of a host"),
        pytest.param({"host": "a b"}, id="two words"),
        pytest.param({"host": "a:x"}, id="no port"),
        pytest.param({"host": "a", "x_forwarded_host": "b"}, id="another name before"),
        pytest.param({"host": "a", "x_original_forwarded_proto": "http"}, id="without TLS before"),
        pytest.param({"host": "a", "forwarded": "host=b"}, id="a proxy of RFC 7239"),
        pytest.param({"host": "a", "via": "1.1 x.cloudfront.net"}, id="a proxy of RFC 9110"),
    ],
)
def test_where_the_name_is_not_sure_the_path_alone_leads_back(headers: dict[str, str]) -> None:
    assert _origin(**headers) == ""
