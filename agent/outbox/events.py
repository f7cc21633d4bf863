"""Hooks: what is to be told of a committed or deleted file, to whom, and when again. No I/O.

A delivery is made at least once: a crash between a success and its being noted down repeats it,
with the same id. Order doesn't matter. After a failure the next attempt comes at a random moment
within a time that doubles, so that a receiver that comes back isn't run over.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.index.files import Delivery
from agent.outbox.retry import Following, Schedule, given_up
from portside.backoff import Backoff
from portside.names import CANARY
from portside.wire import paths
from portside.wire.files import StoredFile, surrogate_key
from portside.wire.hooks import Hook, HookClaims, HookEvent, Occasion, origin_of

_SUFFIXES: Mapping[Occasion, str] = {"committed": "", "deleted": "-deleted", "checked": "-checked"}

HOOK_KINDS = tuple(f"{way}{end}" for end in _SUFFIXES.values() for way in ("command", "webhook"))
"""What deliveries to hooks are called."""

RECEIPT = "receipt"
"""The kind of delivery that brings a file's receipt to the control plane; its target is the URL."""

SCAN = "scan"
"""The kind of row that has a held file looked at by the scanner; its target says how it came."""

UPLOADED, COPIED = "upload", "copy"
"""Targets of a scan: hooks hear of a file from the node that it was uploaded to."""

VERDICT = "verdict"
"""The kind of row that brings a verdict to the control plane, by way of heartbeats."""

VERDICTS_TOLD = "verdicts-told-for"
"""The key of the note that says for which memory of the control plane's verdicts were told."""

SCHEDULE = Schedule(Backoff(first=30, longest=6 * 3600), most=20)
"""Together about a day and a half; seconds within which a failed delivery is tried again."""

_EVENTS: Mapping[Occasion, Literal["file.committed", "file.deleted", "file.checked"]] = {
    "committed": "file.committed",
    "deleted": "file.deleted",
    "checked": "file.checked",
}

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt ended. What is hopeless isn't tried again by itself."""

    result: Literal["done", "failed", "hopeless"]
    error: str = ""


DONE = Outcome("done")


def hooks_for(hooks: Sequence[Hook], namespace: str) -> list[Hook]:
    """The hooks of a namespace, those of every namespace among them."""
    if namespace == CANARY:
        # Files by which a node is tried out are no app's.
        return []
    return [hook for hook in hooks if hook.namespace in ("*", namespace)]


def deliveries_for(
    hooks: Sequence[Hook], namespace: str, occasion: Occasion = "committed"
) -> list[Delivery]:
    """What is to be delivered on such an occasion in a namespace: each target once."""
    found = [
        Delivery(kind_of(hook, occasion), hook.target)
        for hook in hooks_for(hooks, namespace)
        if occasion in hook.events
    ]
    return list(dict.fromkeys(found))


def find_hook(hooks: Sequence[Hook], namespace: str, kind: str, target: str) -> Hook | None:
    """The hook that a delivery was made for; None when the settings have it no more."""
    for hook in hooks_for(hooks, namespace):
        if hook.target == target and kind in [kind_of(hook, each) for each in hook.events]:
            return hook
    return None


def kind_of(hook: Hook, occasion: Occasion) -> str:
    """What a hook's deliveries are called: one of HOOK_KINDS."""
    way = "webhook" if hook.url is not None else "command"
    return way + _SUFFIXES[occasion]


def occasion_of(kind: str) -> Occasion:
    """What a hook's delivery of this kind tells of."""
    end = kind.partition("-")[1] + kind.partition("-")[2]
    return next((each for each, suffix in _SUFFIXES.items() if suffix == end), "committed")


def public_id(file_id: str, kind: str, target: str) -> str:
    """A delivery's id for receivers: the same at every attempt, and never another's.

    The row's own number is given again once the row is gone.
    """
    return hashlib.sha256(f"{file_id}\n{kind}\n{target}".encode()).hexdigest()[:32]


def after(outcome: Outcome, attempt: int, now: int, chance: float) -> Following | None:
    """What follows the attempt of this number (from 1); None when the delivery is made.

    `chance` is a random number from 0 to 1.
    """
    if outcome.result == "done":
        return None
    if outcome.result == "hopeless":
        return given_up(attempt, outcome.error, now)
    return SCHEDULE.following(attempt, outcome.error, now, chance)


def answered(status: int) -> Outcome:
    """What a webhook's status means. Redirects aren't followed: the settings name the receiver."""
    if 200 <= status < 300:
        return DONE
    if status == 410:
        return Outcome("hopeless", "answered 410: the receiver wants no more of these")
    return Outcome("failed", f"answered {status}")


def urls_of(stored: StoredFile) -> tuple[str, ...]:
    """Every URL at which the file's node serves it, by whatever name in the lasting one."""
    base = stored.direct_url.partition(f"{paths.DIRECT}/")[0]
    found = (
        stored.url,
        stored.direct_url,
        paths.lasting_url(base, stored.file_id, stored.name),
        f"{base}{paths.FILES}/{stored.file_id}/content",
    )
    return tuple(dict.fromkeys(found))


def event(stored: StoredFile, occasion: Occasion, delivery_id: str, attempt: int) -> bytes:
    """The body of a webhook."""
    message = HookEvent(
        event=_EVENTS[occasion],
        delivery_id=delivery_id,
        node_id=stored.node_id,
        attempt=attempt,
        file=stored,
        surrogate_key=surrogate_key(stored.file_id, stored.namespace),
        urls=urls_of(stored),
    )
    return message.model_dump_json().encode()


def claims(node_id: str, url: str, delivery_id: str, body: bytes, now: int) -> HookClaims:
    """What the node signs of one attempt."""
    return HookClaims(
        iss=node_id,
        aud=origin_of(url),
        iat=now,
        jti=delivery_id,
        sha256=hashlib.sha256(body).hexdigest(),
    )


def environment(
    stored: StoredFile, occasion: Occasion, path: Path, delivery_id: str, attempt: int
) -> Mapping[str, str]:
    """All the environment of a command: nothing of the worker's own."""
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": "/",
        "PORTSIDE_EVENT": _EVENTS[occasion],
        "PORTSIDE_NODE_ID": stored.node_id,
        "PORTSIDE_NAMESPACE": stored.namespace,
        "PORTSIDE_FILE_ID": stored.file_id,
        "PORTSIDE_FILE": str(path),
        "PORTSIDE_SURROGATE_KEY": surrogate_key(stored.file_id, stored.namespace),
        "PORTSIDE_URLS": " ".join(urls_of(stored)),
        "PORTSIDE_DELIVERY_ID": delivery_id,
        "PORTSIDE_ATTEMPT": str(attempt),
    }


def shown(kind: str, target: str) -> str:
    """A target for logs: a URL's query may hold a secret."""
    return target.partition("?")[0] if kind.startswith("webhook") else target
