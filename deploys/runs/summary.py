"""A run's last words: each host that isn't as it should be, where that happened, what to do.

Printed when the process ends, however it does: pyinfra's own table is left out when no host is
left, and says neither why nor what to do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from pyinfra.api.state import State

from deploys.runs.complaints import complaints
from deploys.runs.remedies import explain
from deploys.runs.trouble import Trouble, troubles

CONNECTING = "connecting"


def print_summary(state: State) -> None:
    """Say it on standard error; nothing where nothing went wrong."""
    if not state.initialised:
        return
    meant = [host for host in state.inventory if state.is_host_in_limit(host)]
    lines = summary(_all_troubles(state), len(meant))
    if lines:
        print("\n--> " + "\n    ".join(lines), file=sys.stderr, flush=True)


def summary(found: Iterable[Trouble], hosts: int) -> list[str]:
    """A line for each kind of trouble with all its hosts, below one that counts them."""
    by_words: dict[str, list[str]] = {}
    for each in sorted(found, key=lambda each: each.host):
        words = f"{each.where}: {each.said}" + (f": {each.remedy}" if each.remedy else "")
        by_words.setdefault(words, []).append(each.host)
    failed = sum(map(len, by_words.values()))
    if not failed:
        return []
    verdict = "isn't as it should be" if failed == 1 else "aren't as they should be"
    return [
        f"{failed} of {hosts} {'host' if hosts == 1 else 'hosts'} {verdict}:",
        *(f"{', '.join(names)}: {words}" for words, names in by_words.items()),
    ]


def _all_troubles(state: State) -> Iterable[Trouble]:
    yield from troubles.values()
    for host in state.failed_hosts:
        if host.name not in troubles:
            said, remedy = explain(complaints.by_host[host.name])
            where = "looking at it" if host in state.activated_hosts else CONNECTING
            yield Trouble(host.name, where, said, remedy)
