"""One node as a client talks to it: requests with a token, answers and failures in our words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, cast

import requests
from pydantic import ValidationError

from portside.client.http.answers import (
    PASSING_REFUSALS,
    Bearer,
    innermost,
    must_keep_secrets,
    problem_of,
    retry_after,
)
from portside.client.http.connection import UploadAdapter
from portside.client.http.errors import NodeUnavailable, ReceiptRefused, Refused, describe
from portside.client.http.session import AnswerUnusable, Session
from portside.client.http.trust import trusted_authorities
from portside.tokens import key_id
from portside.wire import paths
from portside.wire.files import StoredFile
from portside.wire.keys import Keyset

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 30.0
VERIFY_SECONDS = 7200.0
"""Longest wait for the answer after the last byte: with `ack: replicated` a node first makes a
second copy of many GB. A dead connection is found sooner, by TCP keep-alive."""

_NO_SPACE = 507


class SizedBody(Protocol):
    """A request's body: blocks of bytes whose number is known, and how many were taken so far."""

    sent: int

    def __len__(self) -> int: ...

    def __iter__(self) -> Any: ...


class NodeClient:
    """A connection to the node at `base_url` (`https://s01.example.net`), for one thread at a time.

    `ca` is a PEM file to trust instead of the system's authorities. Raises ValueError for a URL
    that would send tokens in the clear.
    """

    def __init__(self, base_url: str, ca: Path | None = None) -> None:
        self.base_url = base_url.rstrip("/").removesuffix(paths.UPLOAD)
        must_keep_secrets(self.base_url, "the node's")
        self._ca = ca
        self._verify = trusted_authorities(ca)
        self._session = Session()
        self._session.mount("https://", UploadAdapter())
        self._session.mount("http://", UploadAdapter())
        self._keys: Keyset | None = None
        self._asks_first = True

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def another(self) -> NodeClient:
        """Connections of its own to the same node, for another thread."""
        return NodeClient(self.base_url, self._ca)

    def keys(self) -> Keyset:
        """The keys the node signs receipts with. Raises NodeUnavailable and Refused."""
        if self._keys is None:
            answer = self.ask("GET", paths.KEYS)
            if answer.status_code != 200:
                raise failure(answer)
            try:
                self._keys = Keyset.model_validate_json(answer.content)
            except ValidationError:
                raise NodeUnavailable(
                    f"{self.base_url + paths.KEYS}: answered with no key set: is this a node?"
                ) from None
        return self._keys

    def keys_for(self, receipt: str) -> Keyset:
        """The keys, asked for once more where none of them signed this receipt: the node may have
        another one since the upload began. Raises NodeUnavailable and Refused.
        """
        if self.keys().known(key_id(receipt)) is None:
            self._keys = None
        return self.keys()

    def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        answer_within: float = ANSWER_SECONDS,
    ) -> requests.Response:
        """The answer, whatever its status, to a request without a body. Raises NodeUnavailable."""
        try:
            return self._request(method, path, token, headers or {}, answer_within)
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error) from None

    def send(
        self, method: str, path: str, token: str, headers: dict[str, str], body: SizedBody
    ) -> requests.Response:
        """The answer, whatever its status, to a request with a body, which is sent from its start.

        Raises NodeUnavailable; what `body` raises while it is read passes through.
        """
        try:
            if len(body) and self._asks_first:
                asking = {**headers, "Expect": "100-continue"}
                answer = self._request(method, path, token, asking, VERIFY_SECONDS, body)
                if answer.status_code != requests.codes.expectation_failed:
                    return answer
                # Something on the way knows no expectations (RFC 9110, section 15.5.18).
                self._asks_first = False
                self._session.close()
            return self._request(method, path, token, headers, VERIFY_SECONDS, body)
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error, body) from None
        finally:
            if body.sent < len(body):
                # The rest of the body was never sent: nothing else can travel on this connection.
                self._session.close()

    def _request(
        self,
        method: str,
        path: str,
        token: str | None,
        headers: dict[str, str],
        answer_within: float,
        body: SizedBody | None = None,
    ) -> requests.Response:
        return self._session.request(
            method,
            self.base_url + path,
            # Its length becomes the Content-Length, 0 included: it is never sent chunked.
            data=cast("Iterable[bytes] | None", body),
            headers=headers,
            auth=Bearer(token) if token else None,
            timeout=(CONNECT_SECONDS, answer_within),
            verify=self._verify,
            allow_redirects=False,
        )

    def _unreachable(self, error: Exception, body: SizedBody | None = None) -> NodeUnavailable:
        if isinstance(error, requests.exceptions.SSLError):
            return NodeUnavailable(
                f"{self.base_url}: its certificate or TLS is not accepted: {innermost(error)}; "
                "name the CA to trust with --ca",
                passing=False,
            )
        if isinstance(error, AnswerUnusable):
            return NodeUnavailable(f"{self.base_url}: {error}: is this a node?", passing=False)
        where = f" after {body.sent} of {len(body)} bytes" if body is not None else ""
        return NodeUnavailable(f"{self.base_url}: no connection{where}: {innermost(error)}")


def stored_file(answer: requests.Response) -> StoredFile:
    """The stored file that a success tells of. Raises ReceiptRefused when it tells of none."""
    try:
        return StoredFile.model_validate_json(answer.content)
    except ValidationError as error:
        raise ReceiptRefused(
            f"the node answered {answer.status_code}, but not with a stored file: "
            f"{error.errors()[0]['msg']}"
        ) from None


def failure(answer: requests.Response) -> Refused | NodeUnavailable:
    """What an answer that is no success means for its sender."""
    problem = problem_of(answer)
    if answer.status_code < 500 and answer.status_code not in PASSING_REFUSALS:
        # A redirect counts as one: a body can't be sent twice, nor a token to somebody else.
        return Refused(problem)
    passing = answer.status_code != _NO_SPACE
    return NodeUnavailable(describe(problem), problem, retry_after(answer), passing)
