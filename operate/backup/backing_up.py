"""`fab backup`: the control plane as it is now, in one file that lies elsewhere.

The control node copies its database as it does every hour, and packs the copy with what it is of
(`portside-control pack`). It comes here under another name, is read back whole, and is put where it
is wanted: what fails anywhere leaves no half of a backup, and the older ones alone. Interrupted or
run twice at once it leaves nothing but whole ones.
"""

from __future__ import annotations

import secrets
import shutil
import tarfile
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from operate import nodes
from operate.backup import backups
from operate.site import Refused, Site
from operate.tell import Tell
from portside import durable_file
from portside.backup import archive
from portside.backup.archive import Manifest, Source
from portside.backup.places import Folder, Place
from portside.backup.sealing import Seal
from portside.commands.common import ago
from portside.operator.programs import CONTROL, CONTROL_BACKUP
from portside.quantities import format_size

_LEFT_BEHIND = 86400.0
"""Seconds after which a file that was never finished is one of a run that was killed."""


def backup(
    site: Site,
    to: str | None,
    tell: Tell,
    *,
    with_secrets: bool = False,
    passphrase_file: str | None = None,
    dry: bool = False,
) -> None:
    """Make a backup and put it in its place. Raises one of MISTAKES; the older ones are as they
    were then."""
    node_id, where = site.control_node(), backups.place(site, to)
    if site.cluster.control.database.get_secret_value() not in ("sqlite", "postgresql"):
        raise Refused(
            f"the database of cluster {site.cluster.name!r} is not on {node_id}: whoever runs it "
            "backs it up (pg_dump, or a standby)"
        )
    if dry:
        tell.line(f"would copy the database on {node_id}, and bring it to {_words(site, to)}")
        tell.line(_of_secrets(site, with_secrets))
        tell.result({"dry": True, "node_id": node_id, "to": to, "secrets": with_secrets})
        return
    words = backups.passphrase_seal(passphrase_file, twice=True) if with_secrets else None
    seal = None if where.private else backups.own_seal(site, make=True)
    spool = backups.folder(site)
    _make_folder(spool)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=spool) as folder:
        made, manifest = _fetched(site, node_id, Path(folder), tell)
        if seal is not None or words is not None:
            made, manifest = _sealed(site, made, manifest, seal, words)
        lies = _put(where, made, manifest, spool)
    for line in _about(manifest, lies):
        tell.line(line)
    if seal is not None:
        tell.line(
            f"it is sealed: {site.keystore.directory / 'backup.key'} opens it, and nothing else "
            "does: keep a copy of that in a third place"
        )
    tell.line(_of_secrets(site, with_secrets))
    tell.result({"dry": False, "at": lies, "manifest": manifest.model_dump(mode="json")})


def listed(site: Site, to: str | None, tell: Tell) -> None:
    """Show the backups that lie in a place. Raises one of MISTAKES."""
    where = backups.place(site, to)
    names = where.names()
    rows, told = [], []
    for name in names:
        manifest, trouble = _looked_at(where, name)
        told.append(
            {
                "name": name,
                "manifest": manifest and manifest.model_dump(mode="json"),
                "trouble": trouble,
            }
        )
        if manifest is None:
            rows.append((name, trouble or "-", "-", "-", "-"))
            continue
        size = sum(part.size for part in manifest.parts)
        files = str(manifest.about.files)
        parts = "+".join(part.name.partition(".")[0] for part in manifest.parts)
        rows.append((name, ago(manifest.about.made_at), files, parts, format_size(size)))
    tell.table(("backup", "made", "files", "has", "size"), rows)
    if not names:
        tell.line(f"no backup is in {_words(site, to)}: `fab backup` makes one")
    tell.result({"backups": told})


def verify(site: Site, said: str, tell: Tell) -> None:
    """Read all of a backup and compare its digests. Raises one of MISTAKES for one that is damaged
    or of another cluster."""
    path = backups.found(site, said)
    manifest = archive.verify(path)
    backups.must_be_ours(site, path, manifest)
    for line in _about(manifest, str(path)):
        tell.line(line)
    tell.line("every digest is right; `fab restore latest --drill` shows that it can be restored")
    tell.result({"at": str(path), "manifest": manifest.model_dump(mode="json")})


def _fetched(site: Site, node_id: str, folder: Path, tell: Tell) -> tuple[Path, Manifest]:
    """A backup of now, brought into `folder` and read back. Raises one of MISTAKES."""
    command = ("runuser", "-u", CONTROL.user, "--", CONTROL_BACKUP)
    said = nodes.ask(site, [node_id], command, patience=None)[node_id]
    copy = next((line for line in said.out.splitlines() if line.startswith("/")), None)
    # One that was made counts, whatever else that command looks after.
    if copy is None:
        raise Refused(f"no copy of the database could be made: {said.trouble}")
    if not said.ok:
        tell.warn(f"the copy is made, and something else is wrong: {said.trouble}")
    path = folder / "fetched"
    with path.open("xb") as taken:
        answer = nodes.carry(site, node_id, CONTROL.as_its_user("pack", copy), taken=taken)
        taken.flush()
        durable_file.sync(taken.fileno())
    if not answer.ok:
        raise Refused(f"the backup could not be brought here: {answer.trouble}")
    manifest = archive.verify(path)
    backups.must_be_ours(site, path, manifest)
    return path, manifest


def _sealed(
    site: Site, path: Path, manifest: Manifest, seal: Seal | None, words: Seal | None
) -> tuple[Path, Manifest]:
    """The same with its parts sealed, and with the operator's secrets where `words` seal them."""
    made = path.with_name("sealed")
    with (
        tempfile.TemporaryFile(dir=path.parent) as database,
        tempfile.TemporaryFile(dir=path.parent) as settings,
        tempfile.TemporaryFile(dir=path.parent) as keystore,
        made.open("xb") as out,
    ):
        archive.copy_part(path, archive.DATABASE, database)
        archive.copy_part(path, archive.SETTINGS, settings)
        sources = [
            Source(archive.DATABASE, database, compressed=True, seal=seal),
            Source(archive.SETTINGS, settings, compressed=True, seal=seal),
        ]
        if words is not None:
            with site.keystore.locked(), tarfile.open(fileobj=keystore, mode="w") as tar:
                for each in _secret_files(site.keystore.directory):
                    tar.add(each, str(each.relative_to(site.keystore.directory)))
            sources.append(Source(archive.SECRETS, keystore, seal=words))
        for source in sources:
            source.content.seek(0)
        archive.write(out, manifest.about, sources, path.parent)
        out.flush()
        durable_file.sync(out.fileno())
    return made, archive.verify(made)


def _secret_files(directory: Path) -> Sequence[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
    )


def _put(where: Place, made: Path, manifest: Manifest, spool: Path) -> str:
    name = manifest.name
    if isinstance(where, Folder) and where.path == spool:
        # It is synced, and read back: nothing is left but its name.
        beside = spool / f".partial-{secrets.token_hex(8)}"
        made.rename(beside)
        beside.chmod(0o600)
        return where.put(beside, name)
    return where.put(made, name)


def _looked_at(where: Place, name: str) -> tuple[Manifest | None, str | None]:
    """What one says of itself, as far as it lies on this computer."""
    if not isinstance(where, Folder):
        return None, None
    try:
        return archive.read(where.path / name), None
    except (archive.BackupUnusable, OSError) as error:
        return None, str(error)


def _make_folder(spool: Path) -> None:
    """The folder of backups, without what runs that were killed left in it."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in spool.glob(".partial-*"):
        if time.time() - each.stat().st_mtime < _LEFT_BEHIND:
            continue
        if each.is_dir():
            # One that was being sent elsewhere has a folder in it too.
            shutil.rmtree(each)
        else:
            each.unlink()


def _about(manifest: Manifest, lies: str) -> Sequence[str]:
    about = manifest.about
    size = format_size(sum(part.size for part in manifest.parts))
    newest = f", the newest of {about.newest:%Y-%m-%dT%H:%M:%SZ}" if about.newest else ""
    return (
        f"{lies}: {size}",
        f"  cluster {about.cluster}, made {about.made_at:%Y-%m-%dT%H:%M:%SZ} ({ago(about.made_at)})"
        f" by release {about.release}",
        f"  {about.database}, schema {about.revision}, {about.nodes} nodes, {about.files} files"
        f"{newest}",
    )


def _words(site: Site, to: str | None) -> str:
    return to or str(backups.folder(site))


def _of_secrets(site: Site, with_secrets: bool) -> str:
    """Where the keys are that no database has."""
    folder = site.keystore.directory
    if with_secrets:
        return f"the operator's secrets ({folder}) are in it, sealed with the passphrase"
    return (
        f"not in it: the operator's secrets, the issuer's keys among them. They are in {folder} "
        "(`fab backup --secrets` takes them along); nodes keep their own keys"
    )
