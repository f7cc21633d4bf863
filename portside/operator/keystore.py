"""The operator's secrets of one cluster: issuer keys, the lab CA and the nodes' certificates.

Beside them lie the nodes' public keys, as the deploys gathered them.

They live on the operator's machine alone, in a git-ignored folder only its owner can enter:

    secrets/<cluster>/issuer/<kid>.json           private JWKs that sign upload tokens
    secrets/<cluster>/issuer/<kid>.distrusted     empty: that one was stolen
    secrets/<cluster>/ca/ca.key, ca.crt           the cluster's own certificate authority
    secrets/<cluster>/cold.credentials            the cold tier's access key, put there by hand
    secrets/<cluster>/alerts.password             the mail server's that takes alerts, by hand
    secrets/<cluster>/replica.credentials         the same for the bucket of the database's replica
    secrets/<cluster>/replica.key                 or the private SSH key for its SFTP, by hand too
    secrets/<cluster>/webhook.token               what Alertmanager shows to a webhook, by hand too
    secrets/<cluster>/backup.key                  opens sealed backups, wherever they lie
    secrets/<cluster>/tls/<node>.key, <node>.crt  what it issued, for `tls: {mode: lab}`
    secrets/<cluster>/nodes/<node>.json           public JWKs of the nodes: what the roster says
    secrets/<cluster>/other_keys/<node>.json      those that count beside them, for a rotation
    secrets/<cluster>/rotation.json               how far a rotation of keys has come
    secrets/<cluster>/roster.json                 the roster that was last deployed
    secrets/<cluster>/known_hosts                 the nodes' SSH host keys: no others count
    secrets/<cluster>/operator.key                an API key of the control plane, for day-2 tasks

Every file is born with its final mode and appears whole, by rename.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from portside import durable_file
from portside.cluster import roster
from portside.cluster.file import Cluster
from portside.operator import certificates, issuer_keys, node_keys
from portside.operator.issuer_keys import IssuerKey, IssuerKeyUnusable
from portside.operator.node_keys import OtherKeys
from portside.tokens import SigningKey
from portside.wire.heartbeat import Roster
from portside.wire.keys import Keyset, PublicKey, thumbprint

SECRETS_VARIABLE = "PORTSIDE_SECRETS"
"""Names the folder that holds a folder per cluster, in place of `secrets/` in the project."""

_NEW_ISSUER = timedelta(days=1)
"""For how long a deploy may put an issuer that was made on purpose in a lost one's place."""

_PRIVATE_FILE = 0o600
_PUBLIC_FILE = 0o644
_DIRECTORY = 0o700
_FOLDERS = ("issuer", "ca", "tls", "nodes", "other_keys")


class KeystoreError(Exception):
    """Secrets that are missing or can't be used; the message says what to run."""


class Rotation(BaseModel):
    """What of a rotation is still to be done. `confirmed`: who has what was last deployed."""

    model_config = ConfigDict(frozen=True)

    begun_at: AwareDatetime
    issuer: bool = False
    nodes: tuple[str, ...] = ()
    told: bool = False
    """Whether everybody has heard of the nodes' next keys, so that they may sign."""
    operator: bool = False
    confirmed: tuple[str, ...] = ()

    @property
    def kinds(self) -> str:
        """What is to be done, in words."""
        todo = {"issuer": self.issuer, "nodes": bool(self.nodes), "operator": self.operator}
        return ", ".join(name for name, wanted in todo.items() if wanted) or "nothing"


class Keystore:
    """The folder of one cluster's secrets. Nothing is read or made before it is asked for."""

    def __init__(
        self, directory: Path, cluster_name: str | None = None, others: tuple[Path, ...] = ()
    ) -> None:
        self.directory = directory
        self.cluster_name = cluster_name or directory.name
        self._others = others
        """Where keys of this cluster may lie that don't count."""

    @classmethod
    def for_cluster(cls, cluster: Cluster, project_root: Path) -> Keystore:
        """The keystore of a cluster: `secrets/<name>` beside its file, from wherever one asks.

        `$PORTSIDE_SECRETS/<name>` stands in for that. `project_root` is for a cluster of no file;
        what is there for one of a file isn't used, and told of where keys are missing.
        """
        elsewhere = os.environ.get(SECRETS_VARIABLE)
        if elsewhere:
            return cls(Path(elsewhere).expanduser() / cluster.name, cluster.name)
        places = [
            folder.absolute() / "secrets" / cluster.name
            for folder in (cluster.home(project_root), project_root, Path.cwd())
        ]
        return cls(places[0], cluster.name, tuple(dict.fromkeys(places[1:])))

    @property
    def known_hosts(self) -> Path:
        """The nodes' SSH host keys, as OpenSSH writes them (sshd(8))."""
        return self.directory / "known_hosts"

    def init(self, cluster: Cluster, *, new_issuer: bool = False) -> list[str]:
        """Make what is missing: an issuer key and the CA. Returns a line for each thing made.

        With `new_issuer` the key may take the place of another issuer's that was lost.

        Raises KeystoreError when what is there can't be used.
        """
        made = []
        with self.locked():
            if not self._issuer_paths():
                self._must_be_new(new_issuer=new_issuer)
                made.append(self._make_issuer_key(cluster.name, new_issuer=new_issuer))
            elif new_issuer:
                raise KeystoreError(
                    f"there is an issuer key already, in {self.directory / 'issuer'}: "
                    "`fab rotate-keys --what issuer` replaces it, and no upload fails"
                )
            if not self._ca_crt.exists():
                made.append(self._make_ca(cluster.name))
        return made

    def issuer_keys(self) -> list[IssuerKey]:
        """Every issuer key, newest first. Raises KeystoreError when there is none."""
        try:
            found = [issuer_keys.read(path) for path in self._issuer_paths()]
        except IssuerKeyUnusable as error:
            raise KeystoreError(str(error)) from None
        if not found:
            raise self._nothing_here()
        return sorted(found, key=lambda key: (key.created_at, key.public.kid), reverse=True)

    def issuer_key(self) -> SigningKey:
        """The newest issuer key that is valid now: what new tokens are signed with.

        Raises KeystoreError when there is none.
        """
        signing = self.signing_issuer_key().signing
        assert signing is not None  # noqa: S101 (IssuerKey.signs_at)
        return signing

    def signing_issuer_key(self) -> IssuerKey:
        """The same with what is noted of it. Raises KeystoreError."""
        now = datetime.now(UTC)
        for key in self.issuer_keys():
            if key.signs_at(now):
                return key
        raise KeystoreError(
            f"every issuer key of cluster {self.cluster_name!r} is past its 'not_after' or before "
            f"its 'not_before': mend or remove the files in {self.directory / 'issuer'}"
        )

    def keyset(self) -> Keyset:
        """The public halves of all issuer keys: what a node trusts. Raises KeystoreError."""
        return Keyset(keys=tuple(key.public for key in self.issuer_keys()))

    def waiting_issuer_key(self) -> IssuerKey | None:
        """The key that nodes are told of before it signs, if there is one. Raises KeystoreError."""
        return next((key for key in self.issuer_keys() if key.waiting), None)

    def make_waiting_issuer_key(self, issuer: str, now: datetime) -> IssuerKey:
        """A key that nodes are to be told of before it signs."""
        with self.locked():
            return issuer_keys.make(self._issuer, issuer, now, waiting=True)

    def sign_with(self, key: IssuerKey) -> None:
        """Have a key sign that has waited; the one before counts on."""
        with self.locked():
            issuer_keys.change(key, waiting=None)

    def end_other_issuer_keys(self, signs: IssuerKey, ends: datetime) -> list[IssuerKey]:
        """Give every key but the one that signs an end, where it has none. Raises KeystoreError."""
        with self.locked():
            return [
                issuer_keys.change(key, not_after=ends.isoformat())
                for key in self.issuer_keys()
                if key.public.kid != signs.public.kid and key.public.not_after is None
            ]

    def let_go_of_ended(self, now: datetime) -> list[str]:
        """Remove the private halves of issuer keys that have ended; a line for each.

        What they signed in their time is proof for good: the public halves stay in the keyset.
        """
        with self.locked():
            ended = issuer_keys.ended(self.issuer_keys(), now)
            for key in ended:
                issuer_keys.change(key, d=None)
        return [f"issuer: the private half of {key.public.kid} is gone" for key in ended]

    def distrust_issuer_key(self, kid: str) -> None:
        """Forget an issuer key altogether, for it was stolen: nothing it signed counts any more.

        Raises KeystoreError for the one that signs, and for one that is unknown.
        """
        with self.locked():
            key = next((each for each in self.issuer_keys() if each.public.kid == kid), None)
            if key is None:
                raise KeystoreError(f"no issuer key {kid!r} is known: see `portside keys show`")
            if key.public.kid == self.signing_issuer_key().public.kid:
                raise KeystoreError(
                    f"{kid} is the key that signs: first `fab rotate-keys --what issuer`"
                )
            issuer_keys.distrust(key)

    def distrusted_issuer_keys(self) -> frozenset[str]:
        """The ids of issuer keys that were distrusted: nodes may know them yet."""
        return issuer_keys.distrusted(self._issuer)

    def import_issuer_keys(self, text: str) -> list[str]:
        """Keep issuer keys from elsewhere: a private JWK, or a node's keyset.json, whose public
        halves are those of former ones. Returns the ids of those that weren't here.

        Raises KeystoreError for what is none, another cluster's, or was distrusted.
        """
        with self.locked():
            try:
                found = json.loads(text)
                if "keys" in found:
                    return self._import_former(Keyset.model_validate(found))
                self._must_be_ours(found.get("owner"))
                key, new = issuer_keys.keep(self._issuer, text, datetime.now(UTC))
            except (ValueError, TypeError, AttributeError):
                raise KeystoreError(
                    "it is neither a private key (a JWK in JSON) nor a keyset.json"
                ) from None
            except IssuerKeyUnusable as error:
                raise KeystoreError(str(error)) from None
        return [key.public.kid] if new else []

    def _import_former(self, keyset: Keyset) -> list[str]:
        if not any(key.signing for key in map(issuer_keys.read, self._issuer_paths())):
            raise KeystoreError(
                "these are public halves: first import the private key that signs (the control "
                "node has it as /etc/portside/issuer.json)"
            )
        for key in keyset.keys:
            self._must_be_ours(key.owner)
        return [key.kid for key in keyset.keys if issuer_keys.keep_public(self._issuer, key)]

    def _must_be_ours(self, owner: object) -> None:
        if owner != self.cluster_name:
            raise KeystoreError(
                f"it is the key of {owner!r}, this is cluster {self.cluster_name!r}"
            )

    @contextmanager
    def rotating(self) -> Iterator[None]:
        """One rotation at a time: two would each empty the other's notes of who has what.

        Raises KeystoreError where one is at it.
        """
        with self.locked():
            descriptor = self._opened(".rotating")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise KeystoreError(
                f"somebody rotates the keys in {self.directory} right now: wait until that is done"
            ) from None
        finally:
            os.close(descriptor)

    def rotation(self) -> Rotation | None:
        """What of a rotation is still to be done; None: none is under way. Raises KeystoreError."""
        try:
            return Rotation.model_validate_json(self._rotation.read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            raise KeystoreError(f"{self._rotation} can't be used: {error}: remove it") from None

    def keep_rotation(self, rotation: Rotation) -> Rotation:
        """Note how far a rotation has come."""
        with self.locked():
            content = rotation.model_dump_json(indent=2) + "\n"
            durable_file.replace(self._rotation, content.encode(), _PRIVATE_FILE)
        return rotation

    def end_rotation(self) -> None:
        """Nothing of it is to be done any more."""
        with self.locked():
            self._rotation.unlink(missing_ok=True)

    def begin_step(self) -> None:
        """From now on a rotation hears anew which nodes have what is deployed."""
        rotation = self.rotation()
        if rotation is not None:
            self.keep_rotation(rotation.model_copy(update={"confirmed": ()}))

    def confirm(self, node_id: str) -> None:
        """A node has every key that a rotation has brought so far."""
        rotation = self.rotation()
        if rotation is not None:
            confirmed = tuple(sorted({*rotation.confirmed, node_id}))
            self.keep_rotation(rotation.model_copy(update={"confirmed": confirmed}))

    def cold_credentials(self) -> str:
        """The access key of the cold tier's bucket, as the operator wrote it down.

        Raises KeystoreError when it is missing, incomplete, or others can read it.
        """
        return self._credentials("cold.credentials", "cold")

    def replica_credentials(self) -> str:
        """The access key of the bucket that the database is copied to. Raises KeystoreError."""
        return self._credentials("replica.credentials", "control.replica.bucket")

    def alerts_password(self) -> str:
        """The password for the mail server that takes alerts. Raises KeystoreError."""
        text = self._by_hand("alerts.password", "control.alerts.mail.user", "password")
        if len(text.strip().splitlines()) != 1:
            raise KeystoreError(f"{self.directory / 'alerts.password'} must be one line")
        if not text.isascii():
            raise KeystoreError(
                f"{self.directory / 'alerts.password'} has a letter that isn't ASCII, which mail "
                "servers take each in its own way: choose another password"
            )
        return f"{text.strip()}\n"

    def replica_key(self) -> str:
        """The private SSH key that the database is copied with. Raises KeystoreError."""
        text = self._by_hand("replica.key", "control.replica.sftp", "private SSH key")
        if not text.startswith("-----BEGIN ") or "ENCRYPTED" in text:
            raise KeystoreError(
                f"{self.directory / 'replica.key'} is no private SSH key without a passphrase: "
                "make one with `ssh-keygen -t ed25519 -N ''`"
            )
        return text

    def webhook_token(self) -> str:
        """What Alertmanager shows to the webhook. Raises KeystoreError."""
        return self._one_line("webhook.token", "monitoring.alertmanager.webhook_token", "token")

    def _one_line(self, name: str, key: str, what: str) -> str:
        text = self._by_hand(name, key, what)
        if len(text.splitlines()) != 1 or not text.strip():
            raise KeystoreError(f"{self.directory / name} needs one line, the {what} alone")
        return text

    def backup_key(self) -> str | None:
        """The key that opens sealed backups; None: there is none yet."""
        try:
            return self._backup_key.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def keep_backup_key(self, key: str) -> str:
        """Keep a new one, unless another process was first: the one that is kept then."""
        with self.locked():
            found = self.backup_key()
            if found is None:
                durable_file.replace(self._backup_key, f"{key}\n".encode(), _PRIVATE_FILE)
            return found or key

    def _credentials(self, name: str, key: str) -> str:
        """An access key in AWS's own format."""
        text = self._by_hand(name, key, "access key")
        lines = {line.partition("=")[0].strip() for line in text.splitlines()}
        if not {"[default]", "aws_access_key_id", "aws_secret_access_key"} <= lines:
            raise KeystoreError(
                f"{self.directory / name} needs a line [default], then aws_access_key_id = and "
                "aws_secret_access_key ="
            )
        return text

    def _by_hand(self, name: str, key: str, what: str) -> str:
        """A secret that the operator put there, since the cluster file has `key`."""
        path = self.directory / name
        try:
            if path.stat().st_mode & 0o077:
                raise KeystoreError(f"{path}: others could read the {what}: chmod 600 it")
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise KeystoreError(
                f"{path} can't be read ({error}): the cluster file has `{key}`, whose {what} "
                "belongs there: see clusters/example.yaml"
            ) from None
        return text if text.endswith("\n") else text + "\n"

    def ca_certificate(self) -> Path:
        """The CA's certificate, for clients to trust. Raises KeystoreError when there is none."""
        if not self._ca_crt.exists():
            raise self._nothing_here()
        return self._ca_crt

    def node_certificates(self) -> list[Path]:
        """The certificates issued so far, by node."""
        return sorted((self.directory / "tls").glob("[!.]*.crt"))

    def node_certificate(self, node_id: str, host: str) -> tuple[Path, Path]:
        """The node's certificate and key files, issued or renewed now if need be.

        A certificate is kept, byte for byte, while it names `host`, is this CA's, belongs to its
        key file and has 30 days left. The chain is the certificate alone: clients hold the CA, and
        a root may be left out (RFC 8446, section 4.4.2). Raises KeystoreError without a CA.
        """
        crt = self.directory / "tls" / f"{node_id}.crt"
        key = crt.with_suffix(".key")
        self.ca_certificate()
        with self.locked():
            ca = self._load_ca()
            if not (crt.exists() and key.exists()) or not certificates.still_good(
                crt.read_bytes(), key.read_bytes(), ca, host
            ):
                issued = certificates.issue(ca, host)
                # The key first: a crash in between leaves a pair that still_good() rejects.
                durable_file.replace(key, issued.key_pem, _PRIVATE_FILE)
                durable_file.replace(crt, issued.certificate_pem, _PUBLIC_FILE)
        return crt, key

    def node_keys(self) -> dict[str, PublicKey]:
        """The public keys of nodes that were gathered so far, by node id. Raises KeystoreError."""
        return {path.stem: _read_node_key(path) for path in self._node_key_paths()}

    def keep_node_key(self, node_id: str, key: PublicKey) -> bool:
        """Keep a node's public key, in place of the one before. Returns whether it is another.

        Raises KeystoreError when it is no key of this node's: nothing it signed would be believed.
        """
        wrong = _not_the_key_of(node_id, key)
        if wrong:
            raise KeystoreError(f"the public key of {node_id} can't be used: {wrong}")
        path = self._node_key(node_id)
        with self.locked():
            if path.exists() and _read_node_key(path) == key:
                return False
            durable_file.replace(
                path, (key.model_dump_json(exclude_none=True) + "\n").encode(), _PUBLIC_FILE
            )
        return True

    def other_keys(self, node_id: str) -> OtherKeys:
        """A node's keys beside the one that signs. Raises KeystoreError."""
        try:
            return node_keys.read(self._other_keys(node_id))
        except (ValueError, OSError) as error:
            raise KeystoreError(str(error)) from None

    def keep_following_key(self, node_id: str, key: PublicKey) -> None:
        """Keep the key that is to take the place of a node's. Raises KeystoreError."""
        wrong = _not_the_key_of(node_id, key)
        if wrong:
            raise KeystoreError(f"the next key of {node_id} can't be used: {wrong}")
        with self.locked():
            others = self.other_keys(node_id).with_following(key)
            node_keys.write(self._other_keys(node_id), others)

    def adopt_following_key(self, node_id: str, now: datetime) -> None:
        """The node signs with its next key: it is the node's now. Raises KeystoreError."""
        others, known = self.other_keys(node_id), self.node_keys().get(node_id)
        if others.following is None or known is None:
            raise KeystoreError(f"no key of {node_id} is known that is to follow")
        # First the former ones: broken off in between, this is done once more.
        if known != others.following:
            with self.locked():
                kept = others.taken_over(known, now)
                node_keys.write(
                    self._other_keys(node_id),
                    kept.model_copy(update={"following": others.following}),
                )
            self.keep_node_key(node_id, others.following)
        with self.locked():
            done = self.other_keys(node_id).model_copy(update={"following": None})
            node_keys.write(self._other_keys(node_id), done)

    def has_taken_over(self, node_id: str, since: datetime) -> bool:
        """Whether a node has signed with another key since then."""
        others = self.other_keys(node_id)
        return (
            others.following is None
            and others.taken_over_at is not None
            and others.taken_over_at >= since
        )

    def forget_node_key(self, node_id: str) -> bool:
        """Forget a node that left the cluster. Returns whether its key was known."""
        with self.locked():
            self._other_keys(node_id).unlink(missing_ok=True)
            known = self._node_key(node_id).exists()
            self._node_key(node_id).unlink(missing_ok=True)
        return known

    def deployed_roster(self) -> Roster | None:
        """The roster that was last deployed; None before the first. Raises KeystoreError."""
        try:
            return Roster.model_validate_json(self._roster.read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError) as error:
            raise KeystoreError(
                f"{self._roster} can't be used: {error}: remove it and deploy again"
            ) from None

    def renew_roster(self, wanted: Roster, now: datetime) -> Roster:
        """`wanted` as it is deployed: the last one if that says the same, else with a new version.

        Raises KeystoreError.
        """
        with self.locked():
            previous = self.deployed_roster()
            renewed = roster.renew(previous, wanted, now)
            if renewed != previous:
                content = renewed.model_dump_json(indent=2, exclude_none=True) + "\n"
                durable_file.replace(self._roster, content.encode(), _PUBLIC_FILE)
        return renewed

    def operator_key(self) -> str | None:
        """The operator's API key of the control plane; None: none was made yet."""
        try:
            return self._operator_key.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return None

    def keep_operator_key(self, key: str) -> None:
        """Keep the operator's API key, in place of the one before."""
        with self.locked():
            durable_file.replace(self._operator_key, f"{key}\n".encode(), _PRIVATE_FILE)

    @property
    def _issuer(self) -> Path:
        return self.directory / "issuer"

    @property
    def _operator_key(self) -> Path:
        return self.directory / "operator.key"

    @property
    def _roster(self) -> Path:
        return self.directory / "roster.json"

    def _node_key(self, node_id: str) -> Path:
        return self.directory / "nodes" / f"{node_id}.json"

    def _other_keys(self, node_id: str) -> Path:
        return self.directory / "other_keys" / f"{node_id}.json"

    @property
    def _backup_key(self) -> Path:
        return self.directory / "backup.key"

    @property
    def _rotation(self) -> Path:
        return self.directory / "rotation.json"

    def _node_key_paths(self) -> list[Path]:
        return sorted((self.directory / "nodes").glob("[!.]*.json"))

    @property
    def _ca_crt(self) -> Path:
        return self.directory / "ca" / "ca.crt"

    @property
    def _ca_key(self) -> Path:
        return self.directory / "ca" / "ca.key"

    def _issuer_paths(self) -> list[Path]:
        # A name with a leading dot is a file another process is just writing.
        return sorted(self._issuer.glob("[!.]*.json"))

    def _must_be_new(self, *, new_issuer: bool) -> None:
        """Raise KeystoreError where an issuer key is missing that was there: another one in its
        place would end every token that is out, and every proof in the cluster."""
        if not new_issuer and self._misplaced():
            raise self._nothing_here()
        if not new_issuer and (self._node_key_paths() or self._roster.exists()):
            raise KeystoreError(
                f"{self.directory} knows nodes and has no issuer key: it was lost or is elsewhere. "
                "Bring it back with `portside keys import FILE` (the control node has it as "
                "/etc/portside/issuer.json), or begin anew with `portside keys init --new-issuer`: "
                "then tokens that are out count no more"
            )

    def _make_issuer_key(self, issuer: str, *, new_issuer: bool) -> str:
        now = datetime.now(UTC)
        until = (now + _NEW_ISSUER).isoformat() if new_issuer else None
        notes = {} if until is None else {"replaces_until": until}
        key = issuer_keys.make(self._issuer, issuer, now, **notes)
        return f"issuer key {key.public.kid} in {key.path}"

    def _make_ca(self, cluster_name: str) -> str:
        made = certificates.make_ca(cluster_name)
        durable_file.replace(self._ca_key, made.key_pem, _PRIVATE_FILE)
        durable_file.replace(self._ca_crt, made.certificate_pem, _PUBLIC_FILE)
        return f"certificate authority in {self._ca_crt}"

    def _load_ca(self) -> certificates.Pair:
        if not (self._ca_crt.exists() and self._ca_key.exists()):
            raise self._nothing_here()
        pair = certificates.Pair(self._ca_crt.read_bytes(), self._ca_key.read_bytes())
        try:
            certificates.check_ca(pair)
        except ValueError as error:
            raise KeystoreError(
                f"{self._ca_crt} can't be used: {error}: remove the folder "
                f"{self._ca_crt.parent}, run `portside keys init` and provision the nodes again"
            ) from None
        return pair

    def _misplaced(self) -> Path | None:
        """Keys of a cluster of this name elsewhere, where they don't count."""
        others = (path for path in self._others if path != self.directory)
        return next((path for path in others if any((path / "issuer").glob("*.json"))), None)

    def _nothing_here(self) -> KeystoreError:
        misplaced = self._misplaced()
        if misplaced:
            return KeystoreError(
                f"no keys for cluster {self.cluster_name!r} in {self.directory}, beside its "
                f"cluster file; there are some in {misplaced}: move that folder there, or set "
                f"{SECRETS_VARIABLE}={misplaced.parent}"
            )
        return KeystoreError(
            f"no keys for cluster {self.cluster_name!r}: run `portside keys init` "
            f"(looked in {self.directory})"
        )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time makes keys: two would each write half of a pair."""
        if not self.directory.exists():
            _make_directory(self.directory.parent)
        for directory in (self.directory, *(self.directory / n for n in _FOLDERS)):
            _make_directory(directory)
            if directory.stat().st_mode & 0o077:
                directory.chmod(_DIRECTORY)
        descriptor = self._opened(".lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _opened(self, name: str) -> int:
        return os.open(self.directory / name, os.O_RDWR | os.O_CREAT, _PRIVATE_FILE)


def _read_node_key(path: Path) -> PublicKey:
    try:
        key = PublicKey.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise KeystoreError(f"{path} is no public key: {error.errors()[0]['msg']}") from None
    except OSError as error:
        raise KeystoreError(f"{path} can't be read: {error}") from None
    wrong = _not_the_key_of(path.stem, key)
    if wrong:
        raise KeystoreError(f"{path} can't be used: {wrong}: remove it and provision the node")
    return key


def _not_the_key_of(node_id: str, key: PublicKey) -> str | None:
    """What is wrong with a node's public key, if anything."""
    if key.owner != node_id:
        return f"it is the key of {key.owner!r}"
    if key.kid != thumbprint(key.x):
        return "'kid' is not the thumbprint of 'x'"
    try:
        key.verifier()
    except ValueError as error:
        return f"'x' is no Ed25519 key: {error}"
    return None


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
