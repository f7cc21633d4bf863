"""Services brought to the state of their files, whoever changed them and whenever."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from pyinfra.api.operation import operation
from pyinfra.context import host

from deploys.hosts import facts
from deploys.layout import STATE


@dataclass(frozen=True, slots=True)
class Level:
    """Files a service has read, and the shell that makes it read them again."""

    watched: tuple[str, ...]
    action: str


@operation()
def converged(
    service: str, levels: Sequence[Level] = (), holds: str = "true", otherwise: str = ""
) -> Generator[str]:
    """Bring a service to the state of its files, whoever changed them and whenever.

    The digest of each level's files is compared with a stamp that is written last, after the action
    succeeded: a run killed in between is finished by the next one. The strongest level that differs
    acts; if none differs but `holds` doesn't hold, `otherwise` does.

    What the service is about to read is noted beside the stamp before the action: whoever undoes a
    change that failed half-way has to know.

    + service: the stamp's name
    + levels: watched files and actions, the strongest first
    + holds: shell condition that must hold whatever the files say, such as "is running"
    + otherwise: what makes it hold; the first level's action if empty
    """
    stamp = f"{STATE}/{service}.stamp"
    state = host.get_fact(
        facts.Converged, stamp=stamp, levels=[each.watched for each in levels], holds=holds
    )
    if state is None or len(state.stamped) != len(levels):
        differs: int | None = 0 if levels else None
        holding = state is not None and state.holds
    else:
        pairs = enumerate(zip(state.wanted, state.stamped, strict=True))
        differs = next((i for i, (wanted, stamped) in pairs if wanted != stamped), None)
        holding = state.holds
    if differs is None and holding:
        return
    action = levels[differs].action if differs is not None else otherwise or levels[0].action
    digests = " ".join(f"$(digest {facts.quoted(each.watched)})" for each in levels)
    yield (
        f"set -e; {facts.DIGEST_FUNCTION}; "
        # Taken before the action: what is changed behind its back must count as not yet read.
        f'seen="{digests}"; install -d -m 0755 {STATE}; echo "$seen" > {stamp}.told; {action}\n'
        f"mv -fT {stamp}.told {stamp}"
    )
