"""Connections of the clients here: through the environment's proxies, but not in the clear."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import requests


class Session(requests.Session):
    """Goes through HTTPS_PROXY and ALL_PROXY, unless NO_PROXY names the host, as curl does.

    A URL in the clear is one of this machine (`must_keep_secrets`): through a proxy its token would
    leave it. Nor is a password sent that ~/.netrc has for the host: what lets a request in is in
    its header or URL.
    """

    def __init__(self) -> None:
        super().__init__()
        # `requests` looks into ~/.netrc for what has no authorization of its own.
        self.auth = _as_it_is

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What a request goes by, as `requests` asks for it."""
        if urlsplit(str(url)).scheme == "http":
            return {"proxies": {}, "stream": stream, "verify": verify, "cert": cert}
        return super().merge_environment_settings(url, proxies, stream, verify, cert)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
