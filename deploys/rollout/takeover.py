"""A node takes over a release and settings: proven, or put back to what it was.

What it runs is kept before anything is changed: the release it points to, its settings, its units,
nginx.conf. Then the new is put in place, and the node has to take, serve and delete a file. If it
doesn't and did so before, what was kept is put back, and the run stops there.

What was kept of a release that was replaced stays with it, for `deploys/rollback.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyinfra.api.exceptions import NestedOperationError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from deploys import layout
from deploys.components import agent, nginx
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from deploys.operations.reloading import room
from deploys.operations.running import Ran, run
from deploys.rollout import keeping
from deploys.rollout.proof import Failure, Prover
from deploys.rollout.turns import Held, Turn, TurnFailed
from portside.operator.programs import AGENT

NAME = "Nodes take over, one after the other"
"""What people read."""

REFUSALS = frozenset(
    {
        *("no-space", "read-only", "node-closed", "clock-off", "no-slot", "no-memory"),
        *("too-many-uploads", "throttled", "rate-limited"),
    }
)
"""What a node that works may say to an upload: a release that says the same as the one before did
is no worse."""

_LAST_WORDS = "journalctl --no-pager --output cat --lines 20 " + " ".join(
    f"--unit {name}" for name in (layout.AGENT_SERVICE, layout.WORKER_SERVICE)
)

_COMES_AND_GOES = re.compile(
    r"^(Start|Stopp|Reload|Finish)(ing|ed) |: (Deactivated successfully|Consumed .* CPU time)"
)


def files_of_a_release(node: StorageNode) -> tuple[str, ...]:
    """What goes with a release beside its own folder. Keys don't: an old one must not come back."""
    units = (f"{layout.UNITS}/{name}" for name in agent.units(node))
    return (layout.AGENT_TOML, layout.GUNICORN_CONF, AGENT.on_path, nginx.FILE, *units)


def unproven(node: StorageNode) -> bool:
    """Whether a run has changed the node and ended before it had proven it: then it has a turn
    even if there is nothing more to change."""
    return node.facts.unproven is not None


def turn_for(node: StorageNode) -> Callable[[Held], Turn]:
    """What a storage node does when it is its turn, with the operations that were held back."""

    def make(held: Held) -> Turn:
        current = held.host.get_fact(
            facts.Releases, releases=layout.RELEASES, current=layout.CURRENT
        ).current
        over = TakeOver(node, held.state, held.host, held.run)
        batch = node.cluster.rollout.batch
        if unproven(node):
            held.host.log("what an earlier run changed here hasn't been proven yet")
        if current is None or node.facts.unproven == "":
            return Turn(over.first, alone=False, batch=batch)
        return Turn(over.carry_out, alone=True, batch=batch)

    return make


@dataclass(frozen=True, slots=True)
class TakeOver:
    """One node's change to something else; `change` makes it, and names what failed if it did.

    `back` is the release that it goes back to, if it does, and those that it leaves by that.
    """

    node: StorageNode
    state: State
    host: Host
    change: Callable[[], str | None]
    back: tuple[str, ...] = ()

    def first(self) -> None:
        """On a node where nothing ran before. Raises TurnFailed."""
        self._must(
            f"install -d -m 0700 {layout.BEFORE} && : > {layout.BEFORE}/release",
            "that nothing ran here can't be noted down",
        )
        failed = self.change()
        if failed is not None:
            raise TurnFailed(f"{failed} failed: what it said is above. Mend that and run again")
        wrong = Prover(self.node, self.host).failure()
        if wrong is not None:
            raise TurnFailed(
                f"the new node doesn't do its work: {wrong}. Mend that and run again"
                + self._last_words()
            )
        self._must(keeping.thrown_away(), "that it works can't be noted down")

    def carry_out(self) -> None:
        """Change, prove, and put back what doesn't pass. Raises TurnFailed."""
        self._must_have_room()
        prover = Prover(self.node, self.host)
        before = prover.failure()
        if before is not None:
            self.host.log(f"before the change: {before}")
        works = before is None or before.slug in REFUSALS
        keep = keeping.keep(files_of_a_release(self.node), works, self.back)
        kept = self._must(keep, "what runs can't be kept").stdout
        # The last lines: a login shell may have had something to say before.
        worked, old = "worked" in kept.splitlines(), _last_line(kept)
        failed = self.change()
        wrong = failed or self._judged(before, prover.failure())
        if wrong is None:
            self._must(keeping.settle(), "what was kept can't be put away")
            return
        tried = _last_line(
            self._must(f"basename $(readlink {layout.CURRENT})", "no release runs here").stdout
        )
        words = self._last_words()
        what = f"release {tried}" if tried != old else "the new settings"
        said = f"{what} failed: {wrong}"
        if not worked:
            why = "" if before is None else f" ({before})"
            raise TurnFailed(
                f"{said}. It didn't work before either{why}: left as it is, no other node is "
                f"touched. Mend it, or leave it out with --exclude {self.node.node_id}{words}"
            )
        put_back = put_in_place(self, layout.BEFORE, old)
        still = put_back or self._judged(before, prover.failure())
        self._went_back(still, said, old, tried, words)

    def _must_have_room(self) -> None:
        """For a process beside those that still finish uploads, before anything is changed."""
        ran = run(self.state, self.host, room(layout.AGENT_SOCKET, layout.SERVICE_USER))
        if not ran.succeeded:
            raise TurnFailed(
                f"nothing was changed: {_last_line(ran.stderr)}. Run again then, or leave it out "
                f"with --exclude {self.node.node_id}"
            )

    def _judged(self, before: Failure | None, after: Failure | None) -> str | None:
        """What is wrong with the node as it is now, if that is worse than it was."""
        if after is None:
            self.host.log("proven: a file went in, came back and was deleted")
            return None
        if before is not None and before.slug == after.slug and after.slug in REFUSALS:
            self.host.log(f"as before, it takes no upload now: {after}")
            return None
        return str(after)

    def _went_back(self, still: str | None, said: str, old: str, tried: str, words: str) -> None:
        if still:
            raise TurnFailed(
                f"{said}; going back to {old} failed too: {still}. No other node is touched: look "
                f"at `fab -H {self.node.node_id} logs`, then run again{words}"
            )
        self._must(keeping.returned(tried), "what was kept can't be put away")
        raise TurnFailed(
            f"{said}; it went back to {old} and works again, no other node is touched. See "
            f"`fab -H {self.node.node_id} logs`, mend it and run again{words}"
        )

    def _last_words(self) -> str:
        lines = run(self.state, self.host, _LAST_WORDS).stdout.splitlines()
        return "".join(f"\n    {line}" for line in complaints(lines))

    def _must(self, command: str, otherwise: str) -> Ran:
        ran = run(self.state, self.host, command)
        if not ran.succeeded:
            raise TurnFailed(f"{otherwise}: {ran.stderr.strip()}: mend that and run again")
        return ran


def _last_line(said: str) -> str:
    return said.strip().rpartition("\n")[2]


def complaints(log: Sequence[str]) -> list[str]:
    """The last of a log's lines that complain, in short.

    What the agent says is JSON; of what systemd says its coming and going is left out.
    """
    found = []
    for line in log:
        try:
            said = json.loads(line)
            if said["level"] in ("warning", "error", "critical"):
                why = str(said.get("exception", "")).rpartition("\n")[2]
                found.append(": ".join(each for each in (said["event"], why) if each))
        except (ValueError, TypeError, KeyError):
            if not _COMES_AND_GOES.search(line):
                found.append(line)
    return [line[:200] for line in found[-3:]]


def put_in_place(over: TakeOver, kept: str, release: str) -> str | None:
    """A release and what was kept with it, taken up by the services; what failed, if anything."""
    restore = keeping.restore(kept, release, files_of_a_release(over.node))
    ran = run(over.state, over.host, f"{restore}; systemctl daemon-reload")
    if not ran.succeeded:
        return ran.stderr.strip() or "its files can't be put in place"
    if keeping.STAYS in ran.stdout.splitlines():
        over.host.log(f"{release} is from before portside-serve, and is served by it all the same")
    try:
        agent.services(over.node, back=True)
        nginx.serves(over.node)
    except NestedOperationError:
        return "a service didn't take it: what it said is above"
    return None
