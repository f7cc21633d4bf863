"""The lock of each node that a verb changes, held while it does; `fab lock` and `fab audit`.

It is the one that deploys take (portside/operator/node_lock.py): a verb and a deploy, or two verbs,
never change a node at the same time, and each is in the node's audit log.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from operate import nodes
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator import node_lock

_PATIENCE = 30.0
"""Seconds for a node to give the lock back when it is told to."""


@contextmanager
def held(site: Site, node_id: str, what: str) -> Iterator[None]:
    """Hold the node's lock while `what` is done there. Raises Refused where somebody else does.

    The node lets go by itself when the connection ends, however it ends.
    """
    script = node_lock.script(node_lock.me(), what, datetime.now(UTC))
    with nodes.channel(site, node_id, ("sh", "-c", script)) as running:
        answer = nodes.first_line(running)
        if answer != "held":
            raise Refused(
                node_lock.refusal(node_id, answer) or nodes.ended(site, node_id, running).trouble
            )
        outcome = "failed"
        try:
            yield
            outcome = "done"
        except KeyboardInterrupt:
            outcome = "interrupted"
            raise
        finally:
            try:
                running.communicate(f"{outcome}\n", timeout=_PATIENCE)
            except (subprocess.TimeoutExpired, OSError):
                # The connection is gone, and the lock with it.
                running.kill()


def noted(site: Site, what: str, tell: Tell) -> None:
    """Have what was asked of the control plane in its node's audit log, where that is a node of
    this cluster. It is done already: a log that can't be had is said, and nothing else."""
    node_id = next(iter(site.cluster.with_role("control")), None)
    if node_id is None:
        return
    script = node_lock.done(node_lock.me(), what)
    answer = nodes.ask(site, [node_id], ("sh", "-c", script))[node_id]
    if not answer.ok:
        tell.warn(f"{answer.trouble}: its audit log doesn't have this")


def close(site: Site, node_ids: Sequence[str], why: str, tell: Tell, dry: bool = False) -> bool:
    """Close these nodes for everybody else's deploys and verbs. Whether all of them are."""
    if not why.strip() or not why.isprintable() or len(why) > node_lock.LONGEST_WHY:
        raise Refused(f"--why: say in 1 to {node_lock.LONGEST_WHY} characters what for")
    script = node_lock.close(node_lock.me(), why, datetime.now(UTC))
    return _each(site, node_ids, script, "closed for everybody else", tell, dry)


def reopen(site: Site, node_ids: Sequence[str], tell: Tell, force: bool, dry: bool = False) -> bool:
    """Open them again. Whether all of them are."""
    return _each(site, node_ids, node_lock.reopen(node_lock.me(), force), "open", tell, dry)


def show(site: Site, node_ids: Sequence[str], tell: Tell) -> bool:
    """Say which of these nodes are closed, by whom and why. Whether all were reached."""
    words = ("sh", "-c", f"cat {node_lock.CLOSED} 2>/dev/null || true")
    answers = nodes.ask(site, node_ids, words)
    found = {node_id: node_lock.read_closure(each.out) for node_id, each in answers.items()}
    for node_id, answer in answers.items():
        closure = found[node_id]
        if not answer.ok:
            tell.warn(answer.trouble)
        elif closure is not None:
            since = f"{closure.since:%Y-%m-%dT%H:%MZ}"
            tell.line(f"{node_id}: closed by {closure.who} since {since}: {closure.why}")
        elif answer.out.strip():
            tell.warn(str(node_lock.refusal(node_id, f"closed {answer.out.strip()}")))
        else:
            tell.line(f"{node_id}: open")
    tell.result({node_id: each and each.model_dump(mode="json") for node_id, each in found.items()})
    return all(each.ok for each in answers.values())


def audit(site: Site, node_ids: Sequence[str], tell: Tell, lines: int, days: int) -> bool:
    """Who changed what on these nodes in the last `days`, the latest `lines`. Whether all were
    reached."""
    if not 0 < lines <= 100_000 or not 0 < days <= 36500:
        raise Refused("--lines: from 1 to 100000; --days: from 1 to 36500")
    words = ("sh", "-c", f"tail --lines={2 * lines} {node_lock.AUDIT} 2>/dev/null || true")
    answers = nodes.ask(site, node_ids, words)
    since = datetime.now(UTC) - timedelta(days=days)
    entries = sorted(
        (
            (entry.at, node_id, entry)
            for node_id, answer in answers.items()
            for entry in node_lock.read_audit(answer.out)
            if entry.at >= since
        ),
        key=lambda each: each[:2],
    )[-lines:]
    tell.table(
        ("at", "node", "who", "what", "how"),
        [
            (f"{at:%Y-%m-%dT%H:%M:%SZ}", node_id, each.who, each.what, each.outcome or each.event)
            for at, node_id, each in entries
        ],
    )
    for answer in answers.values():
        if not answer.ok:
            tell.warn(answer.trouble)
    told = [{"node_id": node_id, **each.model_dump(mode="json")} for _, node_id, each in entries]
    tell.result({"entries": told})
    return all(each.ok for each in answers.values())


def _each(
    site: Site, node_ids: Sequence[str], script: str, done: str, tell: Tell, dry: bool
) -> bool:
    if dry:
        for node_id in node_ids:
            tell.line(f"{node_id}: would be {done}")
        tell.result({"dry": True, "nodes": list(node_ids)})
        return True
    answers = nodes.ask(site, node_ids, ("sh", "-c", script))
    outcomes = {}
    for node_id, answer in answers.items():
        said = answer.out.strip()
        outcomes[node_id] = answer.ok and said == "done"
        if outcomes[node_id]:
            tell.line(f"{node_id}: {done}")
        else:
            tell.warn(node_lock.refusal(node_id, said) or answer.trouble)
    tell.result({"dry": False, "nodes": outcomes})
    return all(outcomes.values())
