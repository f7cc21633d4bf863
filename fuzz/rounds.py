"""Rounds of requests: sent by several senders at once, judged one by one, the logs at the end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from random import Random

from fuzz import found, heads, judging
from fuzz.exchange import Sent, exchange
from fuzz.messages import Messages
from fuzz.place import Place
from tests.support.minting import access_claims

SENDERS = 4
"""At once: fewer than the control plane's threads, so that nobody waits."""

SLOW = 3.0
"""Seconds that no answer takes, on a machine with other things to do."""


@dataclass(slots=True)
class Faults:
    """What was wrong, each kind with its first examples."""

    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str, most: int = 5) -> None:
        """One more."""
        self.kinds[kind] += 1
        kept = self.examples.setdefault(kind, [])
        if len(kept) < most:
            kept.append(example)

    def __str__(self) -> str:
        """For whoever runs it."""
        if not self.kinds:
            return f"{self.sent} requests, nothing wrong"
        lines = [f"{self.sent} requests"]
        for kind, count in self.kinds.most_common():
            lines += [f"{count} x {kind}", *(f"    {each}" for each in self.examples[kind])]
        return "\n".join(lines)


def requests_of(place: Place, random: Random, count: int) -> Iterator[Sent]:
    """What was found once, then so many requests, half of them odd in their heads."""
    yield from found.requests(place)
    messages = Messages(place, random)
    tokens = [
        place.agent.mint(),
        place.agent.issuer.sign(
            "access+jwt",
            access_claims("lab", "s01", {"rights": ("list", "read", "delete")}).model_dump(
                mode="json", exclude_none=True
            ),
        ),
    ]
    for number in range(count):
        if number % 2:
            yield messages.any()
        elif number % 4:
            yield heads.request(random, place.node_port, heads.NODE_PATHS, tokens)
        else:
            keys = [place.app_key, place.admin_key]
            yield heads.request(random, place.control_port, heads.CONTROL_PATHS, keys)


def faults_of(place: Place, requests: Iterable[Sent]) -> Faults:
    """Send them, and tell everything that is wrong afterwards."""
    faults = Faults()
    workers = {"agent": place.agent.worker_pid()}
    before = {name: judging.threads_of(pid) for name, pid in workers.items()}

    def asked(sent: Sent) -> tuple[Sent, str, int, float]:
        begun = time.monotonic()
        try:
            answer = exchange(sent)
        except TimeoutError:
            return sent, "no answer in time", 0, time.monotonic() - begun
        took = time.monotonic() - begun
        wrong = judging.wrong_with(sent, answer)
        return sent, wrong, answer.status if answer else 0, took

    with ThreadPoolExecutor(SENDERS) as senders:
        upcoming = iter(requests)
        # Tokens are signed when their turn comes: some minutes later they would have expired.
        while some := list(islice(upcoming, 50 * SENDERS)):
            for sent, wrong, status, took in senders.map(asked, some):
                faults.sent += 1
                faults.statuses[status] += 1
                if wrong:
                    faults.add(wrong, repr(sent.data[:600]))
                elif took > SLOW:
                    faults.add("a slow answer", f"{took:.1f} s: {sent.data[:600]!r}")
    for log in place.logs:
        for line in judging.wrong_lines(log):
            faults.add(f"{log.name}: {line.partition(':')[0]}", line)
    for name, pid in workers.items():
        now = judging.threads_of(pid)
        if now > before[name] + 64:
            faults.add(f"{name}: threads", f"{before[name]} before, {now} now")
    return faults
