"""Connections of the clients here: through the environment's proxies, but not in the clear, and
with an end to what a server may answer.
"""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

from portside.quantities import MIB, format_size
from portside.tracing import current

MOST = 64 * MIB
"""Bytes of an answer that is read into memory, as they are once unpacked: the nodes of the largest
cluster with their last heartbeats are half of that."""

_BLOCK = 64 * 1024


class AnswerUnusable(requests.RequestException):
    """A server sends more than any answer has, or what can't be unpacked: so it will again."""


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

    def get_redirect_target(self, *_: Any) -> None:
        """None is followed, for a token goes nowhere else; looking where it leads, `requests` would
        read all that comes with it."""

    def send(self, request: requests.PreparedRequest, **how: Any) -> requests.Response:
        """As `requests` does, as part of the trace under way; a body that isn't streamed is read
        here, up to its bound."""
        request.headers.update(current.headers())
        is_streamed = how.pop("stream", False)
        answer = super().send(request, stream=True, **how)
        if not is_streamed:
            read(answer)
        return answer

    def merge_environment_settings(
        self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any
    ) -> Any:
        """What a request goes by, as `requests` asks for it."""
        if urlsplit(str(url)).scheme == "http":
            return {"proxies": {}, "stream": stream, "verify": verify, "cert": cert}
        return super().merge_environment_settings(url, proxies, stream, verify, cert)


def read(answer: requests.Response) -> None:
    """Put a streamed answer's body in place of the connection that it comes over.

    Raises RequestException where it is longer than any answer.
    """
    body = io.BytesIO()
    try:
        for block in answer.raw.stream(_BLOCK, decode_content=True):
            body.write(block)
            if body.tell() > MOST:
                raise AnswerUnusable(f"its answer has more than {format_size(MOST)}")
    except urllib3.exceptions.DecodeError:
        answer.raw.close()
        raise AnswerUnusable("its answer is packed, and can't be unpacked") from None
    except urllib3.exceptions.HTTPError as error:
        answer.raw.close()
        raise requests.ConnectionError(error) from error
    except BaseException:
        answer.raw.close()
        raise
    body.seek(0)
    answer.raw.release_conn()
    answer.raw = body


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
