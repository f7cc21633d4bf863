"""Uploading one file to one node: send it, hear what the node says, check its receipt."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast
from urllib.parse import quote, urlsplit

import requests
from pydantic import ValidationError

from portside.client.body import FileBody, Progress, ignore_progress, sha256_of
from portside.client.connection import UploadAdapter
from portside.client.errors import NodeUnavailable, ReceiptRefused, Refused, describe
from portside.client.receipt import Sent, check_receipt
from portside.digest import format_repr_digest
from portside.tokens import Keyset, unverified_claims
from portside.wire import PROBLEM_PREFIX, Problem, StoredFile

UPLOAD_PATH = "/api/internal/upload"
FILES_PATH = "/api/v1/files"
KEYS_PATH = "/api/v1/system/keys"

CONNECT_SECONDS = 15.0
ANSWER_SECONDS = 30.0
VERIFY_SECONDS = 7200.0
"""Longest wait for the answer after the last byte: with `ack: replicated` a node first makes a
second copy of many GB. A dead connection is found sooner, by TCP keep-alive."""

ATTEMPTS = 4
LONGEST_PAUSE = 60.0

BARELY_BEGUN = 16 * 1024 * 1024
"""Up to here, bytes count as not taken: socket buffers hold as much while a refusal travels."""

Waiting = Callable[[float, NodeUnavailable], None]
"""Called with the seconds until the next attempt and why it is needed."""


def _wait_in_silence(seconds: float, reason: NodeUnavailable) -> None:
    pass


class UploadClient:
    """Uploads to one node. `base_url` is its public one (`https://s01.example.net`).

    `ca` is a PEM file to trust instead of the system's authorities. Not for use by several threads
    at once. Raises ValueError for a URL that would send tokens in the clear.
    """

    def __init__(self, base_url: str, ca: Path | None = None) -> None:
        self.base_url = base_url.rstrip("/").removesuffix(UPLOAD_PATH)
        parts = urlsplit(self.base_url)
        private = parts.scheme == "http" and _is_loopback(parts.hostname or "")
        if not parts.hostname or not (parts.scheme == "https" or private):
            raise ValueError(f"{base_url!r}: the node's URL must start with https://")
        if ca is not None and not ca.is_file():
            raise ValueError(f"{ca}: there is no such CA file")
        # Explicit for each request: else REQUESTS_CA_BUNDLE in the environment would win.
        self._verify: bool | str = str(ca) if ca else True
        self._session = requests.Session()
        self._session.mount("https://", UploadAdapter())
        self._session.mount("http://", UploadAdapter())
        self._keys: Keyset | None = None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def node_keys(self) -> Keyset:
        """The keys the node signs receipts with. Raises NodeUnavailable and Refused."""
        if self._keys is None:
            answer = self._get(KEYS_PATH)
            if answer.status_code != 200:
                raise _failure(answer)
            try:
                self._keys = Keyset.model_validate_json(answer.content)
            except ValidationError:
                raise NodeUnavailable(
                    f"{self.base_url + KEYS_PATH}: answered with no key set: is this a node?"
                ) from None
        return self._keys

    def put(
        self,
        path: Path,
        token: str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        on_progress: Progress = ignore_progress,
        on_wait: Waiting = _wait_in_silence,
    ) -> StoredFile:
        """Upload the file at `path` and return what the node stored, its receipt verified.

        `name` replaces the file's own name; `sha256` (hex), if known ahead, is checked by the node
        as well. While the node is full (503 with Retry-After) and hasn't taken the body, it is
        asked again up to 3 times. A token that has stored this very file already (the answer to an
        earlier attempt got lost) is a success. Raises LocalFileError, Refused, NodeUnavailable,
        ReceiptRefused, and TokenRefused for a token that is none.
        """
        claims = unverified_claims(token)
        # Asked first: a wrong URL or CA shows before the first gigabyte, not after the last.
        keys = self.node_keys()
        url = self._upload_url(claims.get("name") or name or path.name)
        with FileBody(path, on_progress) as body:
            try:
                stored = _stored_file(self._put_patiently(url, token, body, sha256, on_wait))
            except Refused as refused:
                if refused.problem.type != PROBLEM_PREFIX + "token-used":
                    raise
                stored = self._stored_before(str(claims.get("file_id")), path, refused)
            complete = body.sent == body.size
            sent = Sent(
                node_id=str(claims.get("aud")),
                jti=str(claims.get("jti")),
                file_id=str(claims.get("file_id")),
                size=body.size,
                sha256=body.sha256() if complete else sha256_of(path),
            )
        check_receipt(stored, keys, sent)
        return stored

    def _stored_before(self, file_id: str, path: Path, refused: Refused) -> StoredFile:
        """What a used token has stored, if that is the file at `path`; else raises `refused`."""
        answer = self._get(f"{FILES_PATH}/{quote(file_id, safe='')}")
        if answer.status_code != 200:
            raise refused
        stored = _stored_file(answer)
        if stored.sha256 != sha256_of(path):
            raise refused
        return stored

    def _get(self, path: str) -> requests.Response:
        try:
            return self._session.get(
                self.base_url + path,
                timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                verify=self._verify,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error) from None

    def _upload_url(self, name: str) -> str:
        try:
            return f"{self.base_url}{UPLOAD_PATH}/{quote(name, safe='')}"
        except UnicodeEncodeError:
            raise ValueError(f"{name!r}: the name is no valid Unicode: rename the file") from None

    def _put_patiently(
        self, url: str, token: str, body: FileBody, sha256: str | None, on_wait: Waiting
    ) -> requests.Response:
        for attempts_left in reversed(range(ATTEMPTS)):
            try:
                return self._put_once(url, token, body, sha256)
            except NodeUnavailable as unavailable:
                pause = unavailable.retry_after
                if not attempts_left or pause is None or body.sent > BARELY_BEGUN:
                    raise
                # Jitter: clients that were turned away together must not come back together.
                pause = min(pause, LONGEST_PAUSE) * random.uniform(1.0, 1.5)  # noqa: S311
                on_wait(pause, unavailable)
                time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _put_once(
        self, url: str, token: str, body: FileBody, sha256: str | None
    ) -> requests.Response:
        headers = {"Content-Type": "application/octet-stream"}
        if body.size:
            headers["Expect"] = "100-continue"
        if sha256:
            headers["Repr-Digest"] = format_repr_digest(sha256)
        try:
            answer = self._session.put(
                url,
                # Its length becomes the Content-Length, 0 included: it is never sent chunked.
                data=cast("Iterable[bytes]", body),
                headers=headers,
                auth=_Bearer(token),
                timeout=(CONNECT_SECONDS, VERIFY_SECONDS),
                verify=self._verify,
                allow_redirects=False,
            )
        except (requests.RequestException, OSError) as error:
            raise self._unreachable(error, body) from None
        finally:
            if body.sent < body.size:
                # The rest of the body was never sent: nothing else can travel on this connection.
                self._session.close()
        if answer.status_code not in (200, 201):
            raise _failure(answer)
        return answer

    def _unreachable(self, error: Exception, body: FileBody | None = None) -> NodeUnavailable:
        if isinstance(error, requests.exceptions.SSLError):
            return NodeUnavailable(
                f"{self.base_url}: its certificate or TLS is not accepted: {_innermost(error)}; "
                "name the CA to trust with --ca"
            )
        where = f" after {body.sent} of {body.size} bytes" if body is not None else ""
        return NodeUnavailable(f"{self.base_url}: no connection{where}: {_innermost(error)}")


class _Bearer(requests.auth.AuthBase):
    """Sets the token where nothing replaces it: a ~/.netrc entry for the host would otherwise."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _stored_file(answer: requests.Response) -> StoredFile:
    try:
        return StoredFile.model_validate_json(answer.content)
    except ValidationError as error:
        raise ReceiptRefused(
            f"the node answered {answer.status_code}, but not with a stored file: "
            f"{error.errors()[0]['msg']}"
        ) from None


def _failure(answer: requests.Response) -> Refused | NodeUnavailable:
    problem = _problem(answer)
    if answer.status_code < 500:
        # A redirect counts as one: a body can't be sent twice, nor a token to somebody else.
        return Refused(problem)
    return NodeUnavailable(describe(problem), problem, _retry_after(answer))


def _problem(answer: requests.Response) -> Problem:
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return Problem(
            type=PROBLEM_PREFIX + "unknown",
            title=f"{answer.status_code} {answer.reason or ''}".strip(),
            status=answer.status_code,
            detail="the answer says no more; it may be from a proxy, not from the node",
        )


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds of a 503's Retry-After; its other form, a date, is taken as none (RFC 9110)."""
    value = answer.headers.get("Retry-After", "").strip()
    return float(value) if answer.status_code == 503 and value.isdecimal() else None


def _innermost(error: BaseException) -> str:
    """The cause that a person can act on, out of the libraries' wrappings."""
    while True:
        inner = getattr(error, "reason", None) or next(
            (part for part in reversed(error.args) if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            return str(getattr(error, "strerror", None) or error)
        error = inner


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
