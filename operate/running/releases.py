"""`fab releases` and `fab rollback`: which releases nodes have, and back to one that ran before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from operate import nodes
from operate.deploying import deployed
from operate.site import Refused, Site
from operate.tell import Tell
from portside.operator.programs import PROGRAMS

_DIGEST = re.compile(r"[0-9a-f]{16}")

_LIST = """
cd {releases} 2>/dev/null || exit 0
now=$(readlink {current}); now=${{now##*/}}
[ ! -s {home}/before/release ] || echo begun $(cat {home}/before/release)
[ ! -e $now/.returned ] || echo returned $now
# Those that ran before first, the one that was replaced last at the head.
for each in $(ls -1dt */settings 2>/dev/null | sed 's#/settings##') $(ls -1t); do
    [ -e $each/.complete ] || continue
    state=kept
    [ -d $each/settings ] || state=installed
    [ ! -e $each/.left ] || state=left
    [ $each != "$now" ] || state=runs
    echo $each $state $(stat -c %Y $each/.complete) $(du -sm $each | cut -f 1)
done
"""
"""As deploys/hosts/way_back.py reads it: what a rollback would do is what it says here."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A release on a node. `state`: `runs`; `kept`, can be gone back to; `left`, was gone back
    from; `installed`, never ran. `since`: installed then, seconds since 1970. `size` in MiB."""

    digest: str
    state: str
    since: int
    size: int


@dataclass(frozen=True, slots=True)
class OnNode:
    """A node's releases, those to go back to first. `begun`: what ran before a change that no run
    has proven. `returned`: it went back to what runs now."""

    kept: tuple[Kept, ...]
    begun: str | None
    returned: bool

    def goal(self, wanted: str) -> str | None:
        """Where a rollback goes; None where it is already. Raises ValueError with why it can't."""
        ways = [each.digest for each in self.kept if each.state in ("kept", "left")]
        runs = [each.digest for each in self.kept if each.state == "runs"]
        if wanted:
            if wanted not in (*ways, *runs, self.begun):
                there = ", ".join(ways) or "none but the one that runs"
                raise ValueError(f"doesn't keep release {wanted}: it keeps {there}")
            return None if wanted in runs and not self.begun else wanted
        if self.begun:
            return self.begun
        if self.returned:
            return None
        good = [each.digest for each in self.kept if each.state == "kept"]
        if not good:
            raise ValueError("keeps no release to go back to")
        return good[0]


def releases(site: Site, node_ids: Sequence[str], tell: Tell) -> bool:
    """List them; whether all nodes were reached."""
    rows: list[tuple[str, ...]] = []
    told: list[dict[str, object]] = []
    reached = True
    for node_id, role, found in _found(site, node_ids):
        if isinstance(found, str):
            tell.warn(found)
            reached = False
            continue
        for each in found.kept:
            told.append({"node_id": node_id, "role": role, **asdict(each)})
            rows.append((node_id, role, each.digest, each.state, f"{each.size} MiB"))
    tell.table(("node", "role", "release", "state", "size"), rows)
    tell.result({"releases": told})
    return reached


def rollback(
    site: Site, node_ids: Sequence[str], tell: Tell, release: str = "", dry: bool = False
) -> None:
    """Take storage nodes back to what they ran before, or to `release`, one after the other, each
    proven. Raises Refused where that can't be, before anything is changed."""
    if release and not _DIGEST.fullmatch(release):
        raise Refused(f"--to {release}: 16 hexadecimal digits, as `fab releases` lists them")
    storage = [each for each in node_ids if "storage" in site.cluster.roles_of(each)]
    if not storage:
        raise Refused("the control plane isn't taken back by itself: docs/upgrade.md says how")
    goal: dict[str, str | None] = {}
    for node_id, _, found in _found(site, storage):
        if isinstance(found, str):
            raise Refused(found)
        try:
            goal[node_id] = found.goal(release)
        except ValueError as why:
            raise Refused(f"{node_id} {why}; nothing was changed") from None
    for node_id, to in goal.items():
        if to is None:
            tell.line(f"{node_id}: went back before; `--to` names a release further back")
        else:
            tell.line(f"{node_id}: {'would go' if dry else 'goes'} back to {to}")
    if not dry:
        data = {"release": release} if release else {}
        deployed(site, "rollback", tell, limit=storage, data=data)
    tell.result({"dry": dry, "back_to": goal})


def _found(site: Site, node_ids: Sequence[str]) -> list[tuple[str, str, OnNode | str]]:
    """By node and role: its releases, or why there is no answer."""
    found: list[tuple[str, str, OnNode | str]] = []
    for role, program in PROGRAMS.items():
        having = [each for each in node_ids if role in site.cluster.roles_of(each)]
        script = _LIST.format(releases=program.releases, current=program.current, home=program.home)
        for node_id, answer in nodes.ask(site, having, ("sh", "-c", script)).items():
            kept = _read(answer.out) if answer.ok else answer.trouble
            found.append((node_id, program.name, kept))
    return found


def _read(text: str) -> OnNode:
    lines = [line.split() for line in text.splitlines()]
    kept: dict[str, Kept] = {}
    for words in lines:
        if len(words) == 4 and _DIGEST.fullmatch(words[0]):
            kept.setdefault(words[0], Kept(words[0], words[1], int(words[2]), int(words[3])))
    begun = [words[1] for words in lines if words[0] == "begun" and len(words) == 2]
    returned = any(words[0] == "returned" for words in lines)
    return OnNode(tuple(kept.values()), begun[0] if begun else None, returned)
