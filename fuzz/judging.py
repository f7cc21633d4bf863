"""What is right: an answer of the service's own, a log that is JSON, threads that are all there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from fuzz.exchange import Answer, Sent

PROBLEM = "application/problem+json"

_OF_THE_MOMENT = frozenset(
    {
        "no-slot",
        "no-space",
        "no-memory",
        "no-node",
        "no-replica-node",
        "not-replicated",
        "throttled",
        "file-unavailable",
        "issuer-key-missing",
        "clock-off",
    }
)
"""Problems with a status of 500 or more that say how the service is, not that it failed."""


def wrong_with(sent: Sent, answer: Answer | None) -> str:
    """What is wrong with an answer, in a few words; empty if nothing is."""
    if answer is None:
        return "" if not sent.whole else "no answer"
    if b"<html" in answer.body[:4096].lower():
        return f"{answer.status} in HTML"
    if answer.status == 0:
        # HTTP/0.9 has answers without a head, and requests without a version.
        return "an answer without a head" if b" HTTP/" in sent.data.split(b"\n", 1)[0] else ""
    if answer.status < 400:
        return ""
    if sent.method == "HEAD":
        return "" if answer.status < 500 else f"{answer.status} to HEAD"
    return _wrong_problem(answer)


def _wrong_problem(answer: Answer) -> str:
    """What is wrong with an answer that ought to be a problem document (RFC 9457)."""
    said = answer.headers.get("content-type", "")
    if said != PROBLEM:
        return f"{answer.status} as {said or 'nothing'}"
    try:
        document = json.loads(answer.body)
        slug = str(document["type"]).rpartition(":")[2].rpartition("#")[2]
        status, detail = document["status"], document["detail"]
    except (ValueError, KeyError, TypeError):
        return f"{answer.status} with a body that is no problem document"
    if status != answer.status or not detail:
        return f"{answer.status}, and its document says {status}"
    if answer.status >= 500 and slug not in _OF_THE_MOMENT:
        return f"{answer.status} {slug}"
    return ""


def wrong_lines(log: Path) -> Iterator[str]:
    """Lines of a log that aren't JSON in UTF-8, and those that tell of a failure of ours."""
    for line in log.read_bytes().split(b"\n")[:-1]:
        # gunicorn's master before it loads our code: nobody's request is in it.
        if line.startswith(b"[20"):
            continue
        try:
            entry = json.loads(line.decode())
        except ValueError:
            yield f"no JSON in UTF-8: {line[:300]!r}"
            continue
        if not isinstance(entry, dict):
            yield f"no object: {line[:300]!r}"
        elif entry.get("exception") or entry.get("event") == "unforeseen error":
            yield f"a failure: {line[-1500:].decode()}"


def threads_of(pid: int) -> int:
    """Threads of a process (proc(5))."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
