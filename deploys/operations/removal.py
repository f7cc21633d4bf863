"""Files of ours that are no longer wanted, taken away, and what has read them told."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys.hosts import facts
from deploys.layout import STATE


@operation()
def files_gone(
    paths: Sequence[str], first: str = "", then: str = "", service: str = ""
) -> Generator[str]:
    """Files that shall not be there.

    + paths: what is removed; never anything that the deploy didn't write
    + first: shell that comes before, where any of them is there
    + then: shell for when something was removed
    + service: the stamp of `converged` for these files. It goes last: a run that was killed before
      that is finished by the next.
    """
    stamps = [f"{STATE}/{service}.stamp"] if service else []
    there = host.get_fact(facts.PathStates, paths=[*paths, *stamps])
    if not there:
        return
    steps = [first, f"rm -f {facts.quoted(paths)}", then]
    if stamps:
        steps.append(f"rm -f {facts.quoted(stamps)}")
    yield "\n".join(["set -e", *filter(None, steps)])
