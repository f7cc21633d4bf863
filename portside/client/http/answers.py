"""What all clients here do alike over HTTP: bearer tokens, and failures in words for people."""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

import requests
from pydantic import ValidationError

from portside.wire.problem import PROBLEM_PREFIX, Problem

PASSING_REFUSALS = (408, 423, 429)
"""Refusals that say "not now": RFC 9110, 15.5.9; RFC 4918, 11.3; RFC 6585, 4."""


_DIGITS = 18
"""Of a number in a header: more than any has."""

_OBJECT = re.compile(r"^\w+\(host=[^)]*\): |\[Errno -?\d+\] ")
"""What urllib3 says before and in its reasons: the object that failed, and the error's number."""


class Bearer(requests.auth.AuthBase):
    """Sets the token where nothing replaces it: a ~/.netrc entry for the host would otherwise."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def must_keep_secrets(url: str, whose: str) -> None:
    """Raise ValueError for a URL that would send tokens in the clear; `whose` names it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(f"{url!r}: {whose} URL is none") from None
    private = parts.scheme == "http" and _is_loopback(parts.hostname or "")
    if not parts.hostname or not (parts.scheme == "https" or private):
        raise ValueError(f"{url!r}: {whose} URL must start with https://")


def problem_of(answer: requests.Response) -> Problem:
    """The problem document of an answer that is no success; one of our own where it has none."""
    try:
        return Problem.model_validate_json(answer.content)
    except ValidationError:
        return Problem(
            type=PROBLEM_PREFIX + "unknown",
            title=f"{answer.status_code} {answer.reason or ''}".strip(),
            status=answer.status_code,
            detail=_led_on(answer) or "the answer says no more; it may be from a proxy in between",
        )


def _led_on(answer: requests.Response) -> str:
    """Where a redirect leads, without its query: there may be a token in it."""
    location = answer.headers.get("Location", "") if 300 <= answer.status_code < 400 else ""
    try:
        parts = urlsplit(urljoin(answer.url, location)) if location else None
    except ValueError:
        parts = None
    if parts is None:
        return ""
    where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return (
        f"it leads to {where}, and redirects aren't followed, for a token goes nowhere else: is "
        "the URL the right one, and is no sign-in page before it?"
    )


def retry_after(answer: requests.Response) -> float | None:
    """Seconds of Retry-After (RFC 9110, section 10.2.3); its other form, a date, counts as none."""
    value = answer.headers.get("Retry-After", "").strip()
    return float(value) if value.isdecimal() and len(value) <= _DIGITS else None


def innermost(error: BaseException) -> str:
    """The cause that a person can act on, out of the libraries' wrappings."""
    if isinstance(error, requests.exceptions.InvalidSchema):
        # The library for SOCKS is no part of portside.
        return f"{error}: name a proxy that speaks HTTP in HTTPS_PROXY, or none"
    proxy = "the proxy (HTTPS_PROXY): " if isinstance(error, requests.exceptions.ProxyError) else ""
    return proxy + _innermost(error)


def _innermost(error: BaseException) -> str:
    while True:
        inner = getattr(error, "reason", None) or next(
            (part for part in reversed(error.args) if isinstance(part, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            said = str(getattr(error, "strerror", None) or error)
            return _OBJECT.sub("", said)
        error = inner


def _is_loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")
