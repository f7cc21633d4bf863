"""`fab restore`: a control plane from a backup, on a bare machine too; `--drill` only tries it.

Everything that can be wrong with a backup is found out before anything is changed. What is put in
place, and what was there before is set aside, by the control node itself
(`portside-control-backup restore`, which examines the database once more): it goes on there when
this side is interrupted, and the same command waits for it, or goes on with what is left.
"""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from operate import nodes
from operate.backup import backups
from operate.deploying import deployed
from operate.locks import held
from operate.site import Refused, Site
from operate.tell import Tell
from portside import durable_file
from portside.backup import archive
from portside.backup.archive import Manifest, Part
from portside.backup.contents import NO_DATABASE, DatabaseContents
from portside.backup.sealing import Seal
from portside.commands.common import ago
from portside.operator.programs import CONTROL, CONTROL_BACKUP

STAGING = "/var/lib/portside-deploy/restore"
"""On the control node: root's alone."""

EMPTY = "empty"

_HEARTBEATS = 8
"""So many are waited for until nodes have told what they have; one that is down tells nothing."""

_PROGRAM = Path(__file__).parents[1] / "on_node" / "putting_in_place.sh"

_CUT_OFF = 4
"""The program's exit code when what it had begun was killed: by hand, or with the machine."""

_COMPLETE = """\
test -x "$1" && systemctl cat portside-control-backup.timer $2 >/dev/null 2>&1 && \
runuser -u "$3" -- "$4" check >/dev/null 2>&1 && echo complete || echo incomplete
"""
_STAGED = 'test -e "$1" && sha256sum "$1" | cut -d " " -f 1 || echo none'
_STAGE = """\
set -e; umask 077; mkdir -p "$1"; rm -f "$1"/.partial-*; cat > "$1/.partial-$2"
echo "$3  $1/.partial-$2" | sha256sum --check --status ||
    { echo "what arrived is another file" >&2; exit 1; }
sync "$1/.partial-$2"; mv "$1/.partial-$2" "$1/$2"; sync "$1"
"""
_DONE = 'test -e "$1/outcomes/$2/done" && stat --format %Y "$1/outcomes/$2/done" || true'


@dataclass(frozen=True, slots=True)
class Wishes:
    """What of a restore is wanted; `again` although this very backup was restored already."""

    drill: bool = False
    again: bool = False
    with_secrets: bool = False
    passphrase_file: str | None = None
    dry: bool = False


def restore(site: Site, said: str, wishes: Wishes, tell: Tell) -> None:
    """Put a backup in place, or see whether it could be. Raises one of MISTAKES."""
    node_id = site.control_node()
    path = backups.found(site, said)
    if wishes.with_secrets:
        _bring_back_secrets(site, path, wishes, tell)
    # None are here yet after a dry run of bringing them back.
    bare = wishes.with_secrets and wishes.dry
    manifest = backups.checked(site, path, has_keys=not bare)
    part = manifest.part(archive.DATABASE)
    if part is None:
        raise Refused(f"{path} has no database in it")
    about = manifest.about
    tell.line(
        f"{path}: made {about.made_at:%Y-%m-%dT%H:%M:%SZ} ({ago(about.made_at)}), "
        f"{about.files} files of {about.nodes} nodes, schema {about.revision}: "
        "every digest is right"
    )
    if bare:
        _tell_plan_unseen(node_id, wishes, tell)
        tell.result(_told(manifest, node_id, dry=True, deploys=None))
        return
    complete = _is_complete(site, node_id)
    if wishes.dry:
        _tell_plan(site, node_id, complete, wishes, tell)
        tell.result(_told(manifest, node_id, dry=True, deploys=not complete))
        return
    if wishes.drill:
        if not complete:
            raise Refused(
                f"{node_id} has no control plane to drill beside: without --drill it gets one"
            )
        for line in _drilled(site, node_id, path, part):
            tell.line(line)
        tell.result(_told(manifest, node_id, dry=False, drill=True))
        return
    if not complete:
        tell.line(f"{node_id} is deployed first")
        deployed(site, "site", tell, limit=[node_id])
    else:
        _must_be_wanted(site, node_id, part, wishes)
    _stage(site, node_id, path, part)
    tell.line(f"{node_id}: the database is put in place; the control plane is away for a moment")
    with held(site, node_id, f"restore {path.name}"):
        told = _put_in_place(site, node_id, _staged(part), part.sha256)
    for line in told:
        tell.line(f"  {line}")
    _tell_learned(site, node_id, manifest, tell)


def from_nodes(site: Site, tell: Tell, dry: bool = False) -> None:
    """A control plane without any backup: what nodes have is told by them. Raises one of MISTAKES.

    One whose database is in order is left alone.
    """
    node_id = site.control_node()
    complete = _is_complete(site, node_id)
    present = _present(site, node_id) if complete else None
    if present is not None and present.files:
        raise Refused(
            f"the database on {node_id} is in order and has {present.files} files: nodes have told "
            "it what they have. There is nothing to restore"
        )
    if dry:
        tell.line(f"would deploy {node_id}" if not complete else f"{node_id} is deployed")
        if complete and present is None:
            tell.line("would set its database aside and begin an empty one")
        tell.line("nodes would tell what they have, some 900 files a second")
        tell.result({"dry": True, "node_id": node_id, "deploys": not complete})
        return
    if not complete:
        tell.line(f"{node_id} is deployed first")
        deployed(site, "site", tell, limit=[node_id])
    elif present is None:
        with held(site, node_id, "restore from-nodes"):
            told = _put_in_place(site, node_id, EMPTY, EMPTY)
        for line in told:
            tell.line(f"  {line}")
    tell.line(
        "not brought back, for no node has it: apps and their keys, quotas and settings of pools "
        "made at run time, moves under way. Make the apps anew: `portside-control app create NAME`"
    )
    tell.line(f"files that one node alone speaks for: `portside-control believe` on {node_id}")
    _tell_learned(site, node_id, None, tell)


def _bring_back_secrets(site: Site, path: Path, wishes: Wishes, tell: Tell) -> None:
    """The keystore as it was, where there is none. Raises Refused, BackupUnusable."""
    folder = site.keystore.directory
    manifest = archive.verify(path)
    if manifest.about.cluster != site.cluster.name:
        raise Refused(f"{path} is of cluster {manifest.about.cluster!r}, not {site.cluster.name!r}")
    part = manifest.part(archive.SECRETS)
    if part is None:
        raise Refused(f"{path} has no secrets in it: it was made without --secrets")
    if any((folder / "issuer").glob("*.json")):
        raise Refused(
            f"{folder} has secrets already: leave --secrets out, or move that folder away"
        )
    if wishes.dry:
        tell.line(f"would bring the operator's secrets back to {folder}")
        return
    words = backups.passphrase_seal(wishes.passphrase_file, twice=False)
    with tempfile.TemporaryFile() as text, site.keystore.locked():
        archive.unpack(path, archive.SECRETS, {"passphrase": words}, text)
        text.seek(0)
        with tarfile.open(fileobj=text, mode="r:") as tar:
            members = [(each, PurePosixPath(each.name)) for each in tar if each.isreg()]
            # The issuer's last: with it, all of them are here.
            for member, name in sorted(members, key=lambda each: each[1].parts[0] == "issuer"):
                content = tar.extractfile(member)
                if name.is_absolute() or ".." in name.parts or content is None:
                    raise Refused(f"{path}: a secret is named {member.name!r}")
                target = folder / name
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                durable_file.replace(target, content.read(), 0o600)
    tell.line(f"the operator's secrets are in {folder} again: {len(members)} files")


def _is_complete(site: Site, node_id: str) -> bool:
    """Whether a deploy has finished a control plane on this node. Raises Refused."""
    replica = "portside-control-replica" if site.cluster.control.replica else ""
    words = _script(_COMPLETE, CONTROL_BACKUP, replica, CONTROL.user, CONTROL.command)
    return nodes.ask_one(site, node_id, words).strip() == "complete"


def _must_be_wanted(site: Site, node_id: str, part: Part, wishes: Wishes) -> None:
    done = nodes.ask_one(site, node_id, _script(_DONE, STAGING, part.sha256)).strip()
    if done and not wishes.again:
        moment = datetime.fromtimestamp(int(done), UTC)
        raise Refused(
            f"{node_id} has this very backup since {moment:%Y-%m-%dT%H:%M:%SZ}: nothing is left to "
            "do. --again sets what came since aside, and puts it in place once more"
        )


def _stage(site: Site, node_id: str, path: Path, part: Part) -> None:
    """Bring the database to the node, unless it is there since an earlier run. Raises Refused."""
    seal = backups.own_seal(site)
    seals: dict[str, Seal] = {"key": seal} if seal is not None else {}
    with tempfile.TemporaryFile() as database:
        archive.unpack(path, archive.DATABASE, seals, database)
        database.seek(0)
        digest = hashlib.file_digest(database, "sha256").hexdigest()
        there = nodes.ask_one(site, node_id, _script(_STAGED, _staged(part)), patience=None)
        if there.strip() == digest:
            return
        database.seek(0)
        words = _script(_STAGE, STAGING, part.sha256, digest)
        answer = nodes.carry(site, node_id, words, given=database)
    if not answer.ok:
        raise Refused(f"the database could not be brought there: {answer.trouble}")


def _drilled(site: Site, node_id: str, path: Path, part: Part) -> list[str]:
    """What the node says of a backup that it puts into a database beside the one it uses."""
    _stage(site, node_id, path, part)
    try:
        answer = nodes.ask(site, [node_id], (CONTROL_BACKUP, "drill", _staged(part)), "", None)
    finally:
        nodes.ask(site, [node_id], ("rm", "-f", _staged(part)))
    if not answer[node_id].ok:
        raise Refused(f"it could not be restored: {answer[node_id].trouble}")
    return answer[node_id].out.splitlines()


def _put_in_place(site: Site, node_id: str, file: str, word: str) -> list[str]:
    """Have the node put the database in place; its own words. Raises Refused."""
    program = _PROGRAM.read_text(encoding="utf-8")
    words = _script(program, CONTROL_BACKUP, file, word, STAGING)
    nodes.ask_one(site, node_id, ("mkdir", "-p", "-m", "0700", STAGING))
    answer = nodes.ask(site, [node_id], words, patience=None)[node_id]
    if answer.unreached is not None:
        raise Refused(
            f"{answer.unreached}: it goes on there by itself; give the same command again to see "
            "how it ended"
        )
    if answer.code == _CUT_OFF:
        raise Refused(f"{answer.trouble}, and goes on with the same command: give it again")
    if not answer.ok:
        raise Refused(
            f"{answer.trouble}: the control plane has the database that it had before. "
            f"{node_id}:{STAGING}/outcomes/{word}/log has every word"
        )
    return answer.out.splitlines()


def _tell_learned(site: Site, node_id: str, manifest: Manifest | None, tell: Tell) -> None:
    """Wait until nodes have told what they have, and say what was learned by that."""
    tell.line("nodes tell what they have; Ctrl-C ends the waiting, not the learning")
    every = site.cluster.control.heartbeat
    last, steady = _contents(site, node_id), 0
    ends = time.monotonic() + _HEARTBEATS * every
    # Two heartbeats without anything new: the first says how much it is, pages of files follow it.
    while time.monotonic() < ends or (last is not None and steady == 0):
        time.sleep(max(1.0, every / 2))
        now = _contents(site, node_id)
        steady = steady + 1 if last is not None and now == last else 0
        last = now
        if now is not None and not now.silent and steady >= 4:
            break
    if last is None:
        raise Refused(
            f"the control plane on {node_id} has its database and doesn't answer: "
            f"`fab -H {node_id} logs` says why"
        )
    since = "" if manifest is None else f", {last.files - manifest.about.files:+d} since the backup"
    tell.line(f"{last.files} files are known{since}")
    if last.silent:
        tell.line(
            f"not heard of yet: {', '.join(last.silent)}. What only they have is learned once they "
            "are up: `fab status`"
        )
    if manifest is not None:
        tell.line("apps' keys are those of the backup: one that was made since is to be made anew")
    tell.result(_told(manifest, node_id, dry=False, files=last.files, silent=list(last.silent)))


def _present(site: Site, node_id: str) -> DatabaseContents | None:
    """What the database has; None: it is damaged, or there is none. Raises Refused where neither
    can be said: then it may be in order."""
    answer = nodes.ask(site, [node_id], CONTROL.as_its_user("contents"))[node_id]
    if answer.unreached is None and answer.code == NO_DATABASE:
        return None
    if not answer.ok:
        raise Refused(
            f"{answer.trouble}: whether its database is in order can't be said, and nothing was "
            "changed"
        )
    try:
        return DatabaseContents.model_validate_json(answer.out)
    except ValidationError:
        raise Refused(
            f"{node_id}: it doesn't say in this release's words what its database has: deploy it"
        ) from None


def _contents(site: Site, node_id: str) -> DatabaseContents | None:
    """What the control plane's database has now; None: it isn't in order, or the node is away."""
    answer = nodes.ask(site, [node_id], CONTROL.as_its_user("contents"))[node_id]
    try:
        return DatabaseContents.model_validate_json(answer.out) if answer.ok else None
    except ValidationError:
        return None


def _tell_plan(site: Site, node_id: str, complete: bool, wishes: Wishes, tell: Tell) -> None:
    if wishes.drill:
        tell.line(f"would put it into a database beside the one that {node_id} uses, and remove it")
        return
    if not complete:
        tell.line(f"{node_id} has no control plane yet: would deploy it")
    else:
        present = _contents(site, node_id)
        there = f"{present.files} files" if present else "no database that can be used"
        tell.line(f"{node_id} has {there}: would be set aside, under a name with the date")
    tell.line("then nodes would tell what they have stored since")


def _tell_plan_unseen(node_id: str, wishes: Wishes, tell: Tell) -> None:
    """Where the keys by which nodes are known are still to come."""
    tell.line(
        f"{node_id} isn't asked what it has: the keys that it is known by are among these secrets"
    )
    if wishes.drill:
        tell.line("would put the database into one beside the one that it uses, and remove it")
        return
    tell.line(
        f"would deploy {node_id} if it has no control plane; a database that it has would be set "
        "aside, under a name with the date"
    )
    tell.line("then nodes would tell what they have stored since")


def _told(manifest: Manifest | None, node_id: str, **more: object) -> dict[str, object]:
    about = manifest and manifest.about.model_dump(mode="json")
    return {"node_id": node_id, "backup": about, **more}


def _staged(part: Part) -> str:
    return f"{STAGING}/{part.sha256}"


def _script(text: str, *arguments: str) -> tuple[str, ...]:
    return ("sh", "-c", text, "sh", *arguments)
