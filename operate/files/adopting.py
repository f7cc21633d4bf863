"""`fab adopt`: files that lie on a node already become stored ones, by an order minted here.

The order goes to the node on standard input, and the run there ends when this end does: Ctrl-C, or
a connection that is cut, ends it behind the file that is being committed. The node's lock is held
meanwhile, so that no deploy replaces the program that is at work; whoever needs to deploy ends the
run, and gives the same command again afterwards.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, get_args

from operate import nodes
from operate.locks import held
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator.programs import AGENT
from portside.orders.adoption import LONGEST
from portside.quantities import format_duration, format_size, parse_duration, parse_size
from portside.tokens import LEEWAY, mint_adoption
from portside.wire.claims import AdoptionClaims
from portside.wire.fields import Layout

_LEFT = 1
"""The agent's exit code where files were left, each with a line."""

_PATIENCE = 60.0
"""Seconds for the commit of one file to come to its end."""

WAYS = ("move", "copy", "link")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be adopted, and how: as `portside-agent adopt` has it."""

    folder: str
    namespace: str
    owner: str
    app: str = ""
    layout: str = "dated"
    way: str = ""
    rate: str = ""
    valid: str = "1d"

    def check(self) -> None:
        """Raises Refused for what can't be meant."""
        if not self.folder.startswith("/"):
            raise Refused("--folder: say its whole path on the node, as /srv/old-uploads")
        if not self.namespace or not self.owner:
            raise Refused("--namespace and --owner: say where the files go, and whose they will be")
        if self.layout not in get_args(Layout):
            raise Refused(f"--layout: {' or '.join(get_args(Layout))}")
        if self.way and self.way not in WAYS:
            raise Refused(f"--way: {', '.join(WAYS)}, or nothing for move where that can be")
        try:
            if self.rate:
                parse_size(self.rate)
            if parse_duration(self.valid) > LONGEST:
                raise Refused(f"--valid: {format_duration(LONGEST)} at most")
        except ValueError as error:
            raise Refused(str(error)) from None


def adopt(site: Site, node_id: str, wanted: Wanted, tell: Tell, dry: bool = False) -> bool:
    """Adopt a folder on a node; whether every file in it is stored now. Raises Refused.

    Each file that isn't is named with the reason.
    """
    wanted.check()
    if "storage" not in site.cluster.roles_of(*site.named([node_id])):
        raise Refused(f"{node_id} is no storage node")
    words = _words(wanted, dry)
    if dry:
        code, lines = _run(site, node_id, words, "", tell, dry)
    else:
        with held(site, node_id, f"adopt {wanted.folder}"):
            code, lines = _run(site, node_id, words, _order(site, node_id, wanted), tell, dry)
    summary = lines[-1]["summary"] if lines and "summary" in lines[-1] else None
    if summary is None or code not in (0, _LEFT):
        why = (summary or {}).get("ended") or "it broke off; the lines above say more"
        raise Refused(f"{node_id}: not adopted to the end: {why}")
    left = [line for line in lines if line.get("result") == "left"]
    done = summary["would-be"] if dry else summary["adopted"]
    said = "would be adopted" if dry else "adopted, their copies follow"
    tell.line(
        f"{node_id}: {done} files ({format_size(summary['bytes'])}) {said}; {summary['already']} "
        f"were stored already; {summary['left']} left"
    )
    tell.result({"dry": dry, "node_id": node_id, **summary, "left": left})
    return not left


def _words(wanted: Wanted, dry: bool) -> tuple[str, ...]:
    # With a sign of equality: a name that begins with a dash is none of the options.
    whose = (f"--namespace={wanted.namespace}", f"--owner={wanted.owner}")
    way = (f"--{wanted.way}",) if wanted.way else ()
    rate = (f"--rate={wanted.rate}",) if wanted.rate else ()
    ends = ("--dry-run",) if dry else ("--order", "-")
    # Progress and outcomes in one stream, in the order in which they were said.
    together = ("sh", "-c", 'exec "$@" 2>&1', "adopt", AGENT.command, "adopt")
    return (
        *together,
        "--json",
        "--attended",
        *whose,
        f"--layout={wanted.layout}",
        *way,
        *rate,
        *ends,
        "--",
        wanted.folder,
    )


def _order(site: Site, node_id: str, wanted: Wanted) -> str:
    key, now = site.keystore.issuer_key(), int(time.time())
    claims = AdoptionClaims(
        iss=key.owner,
        aud=node_id,
        jti=secrets.token_urlsafe(16),
        iat=now,
        nbf=now - LEEWAY,
        exp=now + parse_duration(wanted.valid),
        namespace=wanted.namespace,
        owner=wanted.owner,
        app=wanted.app or None,
    )
    return mint_adoption(key, claims)


def _run(
    site: Site, node_id: str, words: Sequence[str], order: str, tell: Tell, dry: bool
) -> tuple[int, list[dict[str, Any]]]:
    """The exit code, and what the node said of files that a person should read of."""
    kept: list[dict[str, Any]] = []
    with nodes.channel(site, node_id, words) as running, _ended_together(running):
        _send(running, order)
        for line in running.stdout or ():
            found = _outcome(line)
            if found is None:
                tell.warn(f"{node_id}: {line.strip().removeprefix('portside-agent: ')}")
            elif "summary" in found:
                kept.append(found)
            elif dry or found["result"] == "left" or found.get("notes"):
                said = "; ".join((*filter(None, [found.get("why")]), *found.get("notes", ())))
                tell.line(f"{found['source']}: {found['result']}" + (f": {said}" if said else ""))
                if found["result"] == "left":
                    kept.append(found)
        return running.wait(), kept


def _send(running: subprocess.Popen[str], order: str) -> None:
    """The order, if there is one. Standard input stays open: its end would end the run."""
    if running.stdin is not None and order:
        try:
            running.stdin.write(order + "\n")
            running.stdin.flush()
        except BrokenPipeError:
            # What it has said before it ended is told.
            return


@contextmanager
def _ended_together(running: subprocess.Popen[str]) -> Iterator[None]:
    """Behind this the run on the node has ended as well, whatever ended this one."""
    try:
        yield
    finally:
        if running.stdin is not None:
            with suppress(BrokenPipeError):
                running.stdin.close()
        try:
            running.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            # The connection hangs; the node finds out by itself that it is gone.
            running.kill()
            running.wait()


def _outcome(line: str) -> dict[str, Any] | None:
    """What the node says of a file or in the end; None of a line for people."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    is_ours = isinstance(found, dict) and ("summary" in found or {"source", "result"} <= set(found))
    return found if is_ours else None
