"""What answers at a file's URLs carry: how long they may be kept, and how redirects come to an end.

A node that hasn't a file sends its client on, to the control plane or to another node, which may
know it only by hearsay. So each of them adds itself to `avoid` in the URL that it sends to, and
nobody sends to those that are in it: however wrong everybody is, no client goes in a circle.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote, urlencode

import falcon

from portside.wire.fields import LABEL

AVOID = "avoid"
"""The parameter with the nodes that a client comes from, with commas."""

TOKEN = "token"  # noqa: S105 (a parameter's name)
"""The parameter with a download token."""

DOWNLOAD = "download"
"""The parameter that asks for a file to be saved where a browser would show it."""

MOST_AVOIDED = 32
"""Nodes in it that are believed: twice the copies that a file may have."""

REDIRECT_SECONDS = 60
"""For which a redirect may be kept at most: a copy that moves is found again after that."""

NO_STORE = {"Cache-Control": "no-store"}
"""That nothing is there is true of now."""

_NODE = re.compile(LABEL)
_ETAG = re.compile(r'"([0-9a-f]{64})"')


def query_value(query: str, name: str) -> str | None:
    """The first value behind `name=` in a query, decoded, without the space around it.

    Mailers and chats encode more of a link than they have to, and put a line's end behind it.
    """
    for pair in query.split("&"):
        found, _, value = pair.partition("=")
        if found == name:
            return unquote(value).strip()
    return None


def is_saved(query: str) -> bool:
    """Whether a query asks for the file to be saved: `?download`, unless a no is behind it."""
    return query_value(query, DOWNLOAD) not in (None, "0", "false")


def avoided(query: str) -> tuple[str, ...]:
    """The nodes that a query asks to avoid; what is none is left out."""
    listed = (query_value(query, AVOID) or "").split(",", MOST_AVOIDED)[:MOST_AVOIDED]
    return tuple(dict.fromkeys(each for each in listed if _NODE.fullmatch(each)))


def onward(url: str, avoid: Iterable[str], token: str | None = None, *, saved: bool = False) -> str:
    """A URL that a client is sent to: whom it comes from, what it may read by, what it wants."""
    listed = ",".join(avoid)
    given = {TOKEN: token or "", AVOID: listed, DOWNLOAD: "1" if saved else ""}
    query = urlencode({name: value for name, value in given.items() if value}, safe=",")
    return f"{url}?{query}" if query else url


def resumed_content(request: falcon.Request) -> str | None:
    """The SHA-256 of the content of which a request wants the rest; None for any other request.

    Whoever names it in `If-Range` or `If-Match` (RFC 9110, sections 13.1.1 and 13.1.5) has had the
    file's headers before.
    """
    if request.get_header("Range") is None:
        return None
    condition = request.get_header("If-Range") or request.get_header("If-Match") or ""
    known = _ETAG.fullmatch(condition)
    return known and known[1]


def content_policy(private: bool, max_age: int | None) -> str:
    """Cache-Control of a file's bytes at a URL that stands for it as long as it is there.

    `max_age` are the namespace's seconds; without them caches have to ask each time.
    """
    if private:
        return "private, no-store"
    return f"public, max-age={max_age}" if max_age else "public, no-cache"


def redirect_policy(private: bool, max_age: int | None) -> str:
    """Cache-Control of a redirect: no longer than of the bytes, and never long."""
    if private:
        return "private, no-store"
    return (
        f"public, max-age={min(REDIRECT_SECONDS, REDIRECT_SECONDS if max_age is None else max_age)}"
    )


def redirect(
    response: falcon.Response, url: str, cache_control: str, surrogate_key: str | None = None
) -> None:
    """Answer with 302 to `url`, which is also the body (RFC 9110, section 15.4.3)."""
    response.status = falcon.HTTP_302
    response.location = url
    response.content_type = falcon.MEDIA_TEXT
    response.text = f"{url}\n"
    response.set_header("Cache-Control", cache_control)
    if surrogate_key is not None:
        response.set_header("Surrogate-Key", surrogate_key)
