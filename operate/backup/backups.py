"""Backups of the control plane as the operator has them: where they lie, whose they are, what opens
them."""

from __future__ import annotations

import filecmp
import getpass
import hashlib
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from operate import nodes
from operate.site import Refused, Site
from portside.backup import archive, places
from portside.backup.archive import Manifest
from portside.backup.places import Folder, Place, PlaceError
from portside.backup.sealing import Seal, new_key

_ON_NODES = "/var/backups/portside"
"""Where a node keeps backups that were put there: root's alone."""

_VERSIONS = Path("control/db/migrations/versions")


def folder(site: Site) -> Path:
    """Where backups come to on this computer when nothing else is said."""
    return site.root / "backups" / site.cluster.name


def place(site: Site, said: str | None) -> Place:
    """The place that `--to` means: a folder, `ssh://[user@]host[:port]/folder`, a node's id, or
    `bucket`. Raises Refused."""
    if said is None:
        return Folder(folder(site))
    if said == "bucket":
        return _bucket(site)
    if said in site.cluster.nodes:
        return OnNode(site, said)
    if not said.startswith("ssh://"):
        return Folder(Path(said).expanduser().absolute())
    try:
        url = urlsplit(said)
        port = url.port
    except ValueError as error:
        raise Refused(f"{said}: {error}") from None
    if not url.hostname or len(url.path) < 2 or url.password or not said.isprintable():
        raise Refused(f"{said}: write it as ssh://user@host:port/folder, the folder from the root")
    host = f"{url.username}@{url.hostname}" if url.username else url.hostname
    options = ("-o", "BatchMode=yes", *(("-P", str(port)) if port else ()))
    return places.Sftp(host, url.path.rstrip("/"), options)


def found(site: Site, said: str) -> Path:
    """The file that is meant, brought here first where it lies elsewhere: a path, `latest`, a name
    in the usual folder, or one behind a place as `--to` takes it. Raises Refused, PlaceError."""
    own = folder(site)
    if Path(said).expanduser().is_file():
        return Path(said).expanduser().absolute()
    if said == "latest":
        newest = _newest(site, Folder(own))
        if newest is None:
            raise Refused(f"{own} has no backup: name a file, or `fab backup` makes one")
        return own / newest
    where, _, name = said.rpartition("/")
    if not where and (own / name).is_file():
        return own / name
    elsewhere = where == "bucket" or where in site.cluster.nodes or where.startswith("ssh://")
    if not elsewhere:
        raise Refused(f"there is no file {said}: `fab backup --list` shows what is in {own}")
    if name == "latest":
        newest = _newest(site, place(site, where))
        if newest is None:
            raise Refused(f"{where} has no backup of cluster {site.cluster.name!r}")
        name = newest
    if not places.NAME.fullmatch(name):
        raise Refused(f"{name!r} is no backup's name: `fab backup --list --to {where}` shows them")
    return _brought(site, where, name)


def _newest(site: Site, there: Place) -> str | None:
    """The name of this cluster's newest: several clusters may share a place."""
    own = re.compile(rf"{re.escape(site.cluster.name)}-\d{{8}}T\d{{6}}Z{re.escape(archive.SUFFIX)}")
    return max((name for name in there.names() if own.fullmatch(name)), default=None)


def _brought(site: Site, where: str, name: str) -> Path:
    """The one that lies there, fetched whole: one of its name on this computer proves nothing of
    it."""
    target = folder(site)
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target / f".partial-{secrets.token_hex(8)}"
    try:
        place(site, where).get(name, partial)
        partial.chmod(0o600)
        try:
            archive.verify(partial)
        except archive.BackupUnusable as error:
            said = str(error).replace(str(partial), f"{where}/{name}")
            raise archive.BackupUnusable(said) from None
        if not (target / name).is_file():
            Folder(target).put(partial, name)
        elif not filecmp.cmp(partial, target / name, shallow=False):
            raise Refused(
                f"{where}/{name} is whole, and {target / name} is another file: move that away, "
                "and give the same command again"
            )
    finally:
        partial.unlink(missing_ok=True)
    return target / name


def checked(site: Site, path: Path, *, has_keys: bool = True) -> Manifest:
    """Read all of a backup, and see that it is one of this cluster that this checkout understands.

    Without keys here, which are to come out of this very backup, the cluster's name is all there is
    to compare. Raises Refused, BackupUnusable, KeystoreError, OSError.
    """
    manifest = archive.verify(path)
    if has_keys:
        must_be_ours(site, path, manifest)
    else:
        _must_have_our_name(site, path, manifest)
    known = {each.name.partition("_")[0] for each in (site.root / _VERSIONS).glob("[0-9]*.py")}
    if manifest.about.revision not in known:
        raise Refused(
            f"{path}: its schema {manifest.about.revision} is newer than this checkout, which "
            f"knows up to {max(known, default='none')}: check out the release that made it "
            f"({manifest.about.release}), or a newer one"
        )
    kind = site.cluster.control.database.get_secret_value()
    if kind != manifest.about.database:
        raise Refused(
            f"{path} is of a {manifest.about.database} database: write `control: {{database: "
            f"{manifest.about.database}}}` into {site.path} to restore it"
        )
    return manifest


def must_be_ours(site: Site, path: Path, manifest: Manifest) -> None:
    """Raises Refused for another cluster's backup, also when that has the same name."""
    _must_have_our_name(site, path, manifest)
    about = manifest.about
    kids = {key.kid for key in site.keystore.keyset().keys}
    if not kids & set(about.issuers):
        raise Refused(
            f"{path} is of another cluster named {about.cluster!r}: none of its issuer keys "
            f"({', '.join(about.issuers)}) is in {site.keystore.directory}"
        )


def _must_have_our_name(site: Site, path: Path, manifest: Manifest) -> None:
    if manifest.about.cluster != site.cluster.name:
        raise Refused(
            f"{path} is of cluster {manifest.about.cluster!r}, this is {site.cluster.name!r} "
            f"({site.path})"
        )


def own_seal(site: Site, *, make: bool = False) -> Seal | None:
    """The keystore's key for backups; with `make` there is one. Raises Refused."""
    text = site.keystore.backup_key()
    if text is None:
        if not make:
            return None
        text = site.keystore.keep_backup_key(new_key())
    try:
        return Seal.of_key(text)
    except ValueError as error:
        raise Refused(f"{site.keystore.directory / 'backup.key'}: {error}") from None


def passphrase_seal(file: str | None, *, twice: bool) -> Seal:
    """Sealed with words that a person knows: from a file's first line, or asked for. Raises
    Refused."""
    try:
        if file is not None:
            lines = Path(file).expanduser().read_text(encoding="utf-8").splitlines() or [""]
            return Seal.of_passphrase(lines[0])
        if not sys.stdin.isatty():
            raise Refused("nobody is here to ask for the passphrase: name --passphrase-file FILE")
        said = getpass.getpass("Passphrase of the secrets: ")
        if twice and getpass.getpass("Once more: ") != said:
            raise Refused("these were two different passphrases: nothing was done")
        return Seal.of_passphrase(said)
    except (ValueError, OSError) as error:
        raise Refused(f"the passphrase: {error}") from None


@dataclass(frozen=True, slots=True)
class OnNode:
    """A node of the cluster, in a folder that is root's alone."""

    site: Site
    node_id: str
    private = False

    @property
    def _folder(self) -> str:
        return f"{_ON_NODES}/{self.site.cluster.name}"

    def put(self, path: Path, name: str) -> str:
        """See Place. The node reads back from its disk what it wrote."""
        beside = f"{self._folder}/.partial-{secrets.token_hex(8)}"
        with path.open("rb") as given:
            digest = hashlib.file_digest(given, "sha256").hexdigest()
            given.seek(0)
            script = (
                "set -e; umask 077; mkdir -p {folder}; trap 'rm -f {beside}' EXIT; cat > {beside}; "
                "sync {beside}; echo '{digest}  {beside}' | sha256sum --check --status; "
                "mv {beside} {target}; sync {folder}"
            ).format(
                folder=self._folder, beside=beside, digest=digest, target=f"{self._folder}/{name}"
            )
            self._must(nodes.carry(self.site, self.node_id, ("sh", "-c", script), given=given))
        return f"{self.node_id}:{self._folder}/{name}"

    def names(self) -> list[str]:
        """See Place."""
        script = f"ls -1 {self._folder} 2>/dev/null || true"
        said = nodes.ask_one(self.site, self.node_id, ("sh", "-c", script))
        return sorted(each for each in said.split() if places.NAME.fullmatch(each))

    def get(self, name: str, to: Path) -> None:
        """See Place."""
        with to.open("wb") as taken:
            words = ("cat", f"{self._folder}/{name}")
            self._must(nodes.carry(self.site, self.node_id, words, taken=taken))

    def _must(self, answer: nodes.Answer) -> None:
        if not answer.ok:
            raise PlaceError(answer.trouble)


def _bucket(site: Site) -> Place:
    replica, cold = site.cluster.control.replica, site.cluster.cold
    if replica is not None and replica.bucket is not None:
        return places.S3(replica.bucket, site.keystore.replica_credentials())
    if cold is not None:
        return places.S3(cold, site.keystore.cold_credentials())
    raise Refused(
        f"{site.path} names no bucket: `cold` or `control.replica.bucket` does, see "
        "clusters/example.yaml"
    )
