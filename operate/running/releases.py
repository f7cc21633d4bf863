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
for each in $(ls -1t); do
    [ -e $each/.complete ] || continue
    state=kept
    [ -d $each/settings ] || state=installed
    [ ! -e $each/.left ] || state=left
    [ $each != "$now" ] || state=runs
    echo $each $state $(stat -c %Y $each/.complete) $(du -sm $each | cut -f 1)
done
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A release on a node. `state`: `runs`; `kept`, can be gone back to; `left`, was gone back
    from; `installed`, never ran. `since`: installed then, seconds since 1970. `size` in MiB."""

    digest: str
    state: str
    since: int
    size: int


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
        for each in found:
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
        raise Refused(f"--release {release}: 16 hexadecimal digits, as `fab releases` lists them")
    storage = [each for each in node_ids if "storage" in site.cluster.roles_of(each)]
    if not storage:
        raise Refused("the control plane isn't taken back by itself: docs/upgrade.md says how")
    goal: dict[str, str] = {}
    for node_id, _, found in _found(site, storage):
        if isinstance(found, str):
            raise Refused(found)
        kept = [each.digest for each in found if each.state in ("kept", "runs")]
        ways = [each.digest for each in found if each.state == "kept"]
        if release and release not in kept:
            raise Refused(
                f"{node_id} doesn't keep release {release}: it keeps "
                f"{', '.join(ways) or 'none but the one that runs'}; nothing was changed"
            )
        goal[node_id] = release or next(iter(ways), "")
        if not goal[node_id]:
            raise Refused(f"{node_id} keeps no release to go back to; nothing was changed")
    for node_id, to in goal.items():
        tell.line(f"{node_id}: {'would go' if dry else 'goes'} back to {to}")
    if not dry:
        data = {"release": release} if release else {}
        deployed(site, "rollback", tell, limit=storage, data=data)
    tell.result({"dry": dry, "back_to": goal})


def _found(site: Site, node_ids: Sequence[str]) -> list[tuple[str, str, list[Kept] | str]]:
    """By node and role: its releases, or why there is no answer."""
    found: list[tuple[str, str, list[Kept] | str]] = []
    for role, program in PROGRAMS.items():
        having = [each for each in node_ids if role in site.cluster.roles_of(each)]
        script = _LIST.format(releases=program.releases, current=program.current)
        for node_id, answer in nodes.ask(site, having, ("sh", "-c", script)).items():
            kept = _read(answer.out) if answer.ok else answer.trouble
            found.append((node_id, program.name, kept))
    return found


def _read(text: str) -> list[Kept]:
    lines = (line.split() for line in text.splitlines())
    return [
        Kept(words[0], words[1], int(words[2]), int(words[3]))
        for words in lines
        if len(words) == 4 and _DIGEST.fullmatch(words[0])
    ]
