"""The cluster file: one YAML file that names the nodes and everything they share.

Read once, at the edge, by pydantic: every mistake in it is reported together, each with the path of
its key, before any connection is made. What follows from the file (host names, URLs) is worked out
here and nowhere else.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from portside.alerting.destinations import Alerts
from portside.bucket import Bucket
from portside.cluster import defaults
from portside.cluster.acme import LETS_ENCRYPT, LETS_ENCRYPT_STAGING, DirectoryUrl, Profile
from portside.cluster.bandwidth import MOST as MOST_RATE
from portside.cluster.bandwidth import BandwidthLimits
from portside.cluster.clamd import ClamdAddress
from portside.cluster.firewall import Firewall
from portside.cluster.hardening import Hardening
from portside.cluster.lifetimes import GRACE, Lifetimes
from portside.cluster.nginx import NginxSettings
from portside.cluster.places import data_root
from portside.cluster.quotas import Quotas
from portside.cluster.reading import words
from portside.cluster.reading.document import NoDocument, read
from portside.cluster.reading.mistake import Mistake
from portside.cluster.reading.own_files import OwnFile, folders_of
from portside.cluster.replica import Replica
from portside.cluster.roles import DEFAULT_PATTERNS, Role, roles_of
from portside.cluster.rollout import Rollout
from portside.cluster.ssh import NodeSsh, Ssh
from portside.content import DEFAULT_EXTENSIONS, normal_extension
from portside.quantities import KIB, MIB, Duration, Size
from portside.tracing.collector import Telemetry
from portside.wire import paths
from portside.wire.fields import LABEL, LONGEST, Namespace, NodeId, Region
from portside.wire.hooks import Hook

_DOMAIN = re.compile(rf"^{LABEL}(\.{LABEL})+$")
_ORIGIN = re.compile(
    r"^null$|^[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|(\*\.)?[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?)(:\d{1,5})?$"
)
"""As browsers write them (RFC 6454, section 6.2), apps' web views and extensions among them."""
_CONTROL_URL = re.compile(r"^https://[a-z0-9.-]+(:\d{1,5})?/?$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+\.[^@\s]+$")

CLUSTER_VARIABLE = "PORTSIDE_CLUSTER"
"""Names the cluster file."""

HSTS_SECONDS = 183 * 86400
"""See Hsts: six months, whichever those are."""

_MOST_BYTES = 1024**5
"""Of one file: 1 PiB, more than the filesystems of nodes hold."""

_LONGEST_HOST = 253
"""Characters of a host name (RFC 1035, section 2.3.4, without the dots of the wire)."""

_OF_A_CONTROL_NODE = ("backups", "replica")
"""Keys of `control` that promise something which only a node with that role keeps."""

CONTROL_PORT_BESIDE_STORAGE = 8443
"""Where the control plane listens on a node that also stores."""


def _as_sent(origin: str) -> str:
    """An origin as a browser sends it: in lower case, without its scheme's own port."""
    lower = origin.lower()
    port = {"https": ":443", "http": ":80"}.get(lower.partition(":")[0], "")
    return lower.removesuffix(port)


def _absolute(path: PurePosixPath) -> PurePosixPath:
    if not path.is_absolute() or ".." in path.parts or re.search(r"[^\w./-]", str(path)):
        raise ValueError("must be an absolute path of letters, digits, '.', '_', '-', without '..'")
    return path


RemotePath = Annotated[PurePosixPath, AfterValidator(_absolute)]


def _network(network: str) -> str:
    try:
        ip_network(network)
    except ValueError as error:
        raise ValueError(
            f"{error}: an address, or a network as 192.0.2.0/24 or 2001:db8::/32"
        ) from None
    return network


Network = Annotated[str, AfterValidator(_network)]


def _origin(origin: str) -> str:
    """As a browser sends it. Raises ValueError with what to write."""
    sent = _as_sent(origin)
    if sent == "*" or _ORIGIN.fullmatch(sent):
        return sent
    scheme, colon, rest = sent.partition("://")
    bare = f"{scheme}://{rest.partition('/')[0]}" if colon else f"https://{sent.partition('/')[0]}"
    meant = (
        f": write {bare}" if _ORIGIN.fullmatch(bare) and not any(c in sent for c in " @?#") else ""
    )
    raise ValueError(
        f"{origin!r} is no origin{meant}; scheme, host and port only, without a path or a slash "
        "at the end, as https://app.example.net or https://*.example.net"
    )


Origin = Annotated[str, AfterValidator(_origin)]


def _pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_pattern)]


class _Strict(BaseModel):
    """A key nobody knows is a typing mistake, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSettings(_Strict):
    """One VPS. Empty is normal: the name alone says what it does."""

    roles: tuple[Role, ...] | None = Field(default=None, min_length=1)
    region: Region | None = None
    weight: int = Field(default=1, ge=0, le=1000)
    tier: Literal["hot", "warm", "cold"] = "hot"
    address: str | None = Field(default=None, pattern=r"^[A-Za-z0-9:][A-Za-z0-9._:-]*$")
    device: RemotePath | None = None
    ssh: NodeSsh = NodeSsh()


class Uploads(_Strict):
    """Where uploads live on a node and what a node accepts."""

    root: Annotated[RemotePath, AfterValidator(data_root)] = PurePosixPath("/srv/portside")
    max_size: Size = Field(default=defaults.MAX_SIZE, gt=0, le=_MOST_BYTES)
    session_deadline: Duration = Field(default=defaults.SESSION_DEADLINE, ge=60, le=30 * 86400)
    filesystem: Literal["ext4", "xfs"] = "ext4"
    extensions: tuple[str, ...] = Field(default=DEFAULT_EXTENSIONS, min_length=1)
    private: tuple[Namespace, ...] = ()

    @field_validator("extensions", mode="after")
    @classmethod
    def _normal(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(normal_extension(extension) for extension in extensions)


class NamespaceSettings(_Strict):
    """What holds for the files of one namespace.

    `max_age` is how long caches may keep one without asking, and so how long a deleted one may be
    seen there at most. `lifetime` is what a file gets from its commit on that nobody gives one,
    `max_lifetime` the most that any may have: then all of them end.

    With `hold` a file is served to nobody until it is released: `api`, by a request; `clamav`, by
    each node once ClamAV finds nothing in it. `unscannable` is what becomes of a file that is too
    much for ClamAV: it is kept from everybody (`keep`, the default) or released unseen.
    """

    hold: Literal["api", "clamav"] | None = None
    unscannable: Literal["keep", "release"] | None = None
    max_age: Duration | None = Field(default=None, le=365 * 86400)
    lifetime: Duration | None = Field(default=None, gt=0, le=LONGEST)
    max_lifetime: Duration | None = Field(default=None, gt=0, le=LONGEST)

    @model_validator(mode="after")
    def _lifetimes(self) -> NamespaceSettings:
        if self.lifetime and self.max_lifetime and self.lifetime > self.max_lifetime:
            raise ValueError(
                "lifetime is what files get that ask for none: it can't be longer than "
                "max_lifetime, the most that any may have"
            )
        return self

    @model_validator(mode="after")
    def _scanned(self) -> NamespaceSettings:
        if self.unscannable is not None and self.hold != "clamav":
            raise ValueError("unscannable is for files that are scanned: with `hold: clamav`")
        return self

    @property
    def ends(self) -> bool:
        """Whether files of this namespace end by themselves where nobody says otherwise."""
        return self.lifetime is not None or self.max_lifetime is not None


class LifetimeSettings(_Strict):
    """What holds for files that end by themselves: `grace` is how long bytes are kept then."""

    grace: Duration = Field(default=GRACE, ge=0, le=365 * 86400)


class Limits(_Strict):
    """How fast one party may come to a node, or to the control plane, and what it may hold there.

    Who exceeds it hears 429 (clients of tus: 503) and when to come back. `slots_per_owner` and
    `slots_per_address` are shares of a node's upload slots, 1 for no bound; addresses in
    `shared_addresses`, behind which are many users, have none. `promised_per_owner` is a share of
    what a pool may promise, for the open sessions of one owner. `least_rate` is bytes per second,
    as is all in `bandwidth`: who would be faster than that waits, and hears nothing of it.
    """

    uploads_per_owner: int = Field(default=defaults.SESSIONS_PER_OWNER, ge=1, le=100_000)
    requests_per_address: int = Field(default=3000, ge=1, le=1_000_000)
    control_requests_per_address: int = Field(default=30_000, ge=1, le=1_000_000)
    wrong_tokens_per_address: int = Field(
        default=defaults.WRONG_TOKENS_PER_ADDRESS, ge=1, le=1_000_000
    )
    slots_per_token: int = Field(default=defaults.SLOTS_PER_TOKEN, ge=1, le=512)
    slots_per_owner: float = Field(default=defaults.SLOTS_PER_OWNER, gt=0, le=1)
    promised_per_owner: float = Field(default=defaults.PROMISED_PER_OWNER, gt=0, le=1)
    slots_per_address: float = Field(default=defaults.SLOTS_PER_ADDRESS, gt=0, le=1)
    shared_addresses: tuple[Network, ...] = ()
    least_rate: Size = Field(default=defaults.LEAST_RATE, ge=1, le=MIB)
    bandwidth: BandwidthLimits = BandwidthLimits()


class Scrub(_Strict):
    """How fast and how often stored files are read again to find damage."""

    rate: Size = Field(default=20 * MIB, ge=64 * KIB, le=MOST_RATE)
    every: Duration = Field(default=defaults.SCRUB_EVERY, ge=60, le=10 * 365 * 86400)


class Cold(Bucket):
    """The cold tier: a bucket of an S3-compatible service that files are backed up to.

    Its access key is no part of the file: `secrets/<cluster>/cold.credentials` holds it.
    """

    rate: Size = Field(default=20 * MIB, ge=64 * KIB, le=MOST_RATE)
    keep_deleted: Annotated[Duration, Field(le=LONGEST)] | Literal[False, "forever"] = 30 * 86400

    @property
    def keep_deleted_seconds(self) -> int | None:
        """How long a deleted file's object is kept; None is for good."""
        if self.keep_deleted == "forever":
            return None
        return int(self.keep_deleted)


class Monitoring(_Strict):
    """Networks that may read a node's `/metrics`, beside the node itself."""

    allow: tuple[Network, ...] = ()


class Cors(_Strict):
    """Browser origins that may upload to and read from the nodes; `*` alone allows every one.

    `https://*.example.net` is every host below example.net, `null` a page without an origin of its
    own and one that was redirected to another host.
    """

    origins: tuple[Origin, ...] = ()

    @field_validator("origins", mode="after")
    @classmethod
    def _all_or_some(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        if "*" in origins and len(origins) > 1:
            raise ValueError("'*' allows every origin: leave the others out, or leave '*' out")
        return origins


class Hsts(_Strict):
    """For how long browsers come to a host with TLS alone, once they were there (RFC 6797).

    Half a year: a visitor who comes twice a year is never without it, and a host that is given
    another use is not bound for longer. 0 makes browsers forget it. `preload` asks for a place in
    the list that browsers bring along, for the conditions of https://hstspreload.org.
    """

    max_age: Duration = Field(default=HSTS_SECONDS, ge=0, le=2 * 365 * 86400)
    include_subdomains: bool = False
    preload: bool = False

    @model_validator(mode="after")
    def _what_the_list_takes(self) -> Hsts:
        if self.preload and not (self.include_subdomains and self.max_age >= 365 * 86400):
            raise ValueError("preload needs include_subdomains and a max_age of 365d at least")
        return self

    @property
    def header(self) -> str:
        """Strict-Transport-Security (RFC 6797, section 6.1)."""
        wanted = {"includeSubDomains": self.include_subdomains, "preload": self.preload}
        return "; ".join([f"max-age={self.max_age}", *(name for name, on in wanted.items() if on)])


class Tls(_Strict):
    """Certificates: `lab` = from a CA of the operator's own, `files` = yours, `acme` = asked for.

    With `files`, `directory` holds `<node id>.crt` (full chain) and `<node id>.key` for each node.
    With `acme`, nodes ask Let's Encrypt, with `staging` the one of it that is for trying, or the
    authority at `directory_url`; `profile` is one of the kinds of certificate that it offers.
    `authority` holds the CA certificates that the cluster's own are known by, where those that
    every system knows don't do. `hsts` holds for certificates that browsers trust: with the lab's
    they would lock people out.
    """

    mode: Literal["lab", "files", "acme"] = "lab"
    email: str | None = None
    staging: bool = False
    directory_url: DirectoryUrl | None = None
    profile: Profile | None = None
    directory: OwnFile | None = None
    authority: OwnFile | None = None
    hsts: Hsts = Hsts()

    @model_validator(mode="after")
    def _complete(self) -> Tls:
        if self.mode == "acme" and not (self.email and _EMAIL.fullmatch(self.email)):
            raise ValueError("mode acme needs 'email', an address where the authority reaches you")
        if self.mode == "files" and self.directory is None:
            raise ValueError("mode files needs 'directory', which holds <node id>.crt and .key")
        if self.mode == "lab" and self.authority is not None:
            raise ValueError("authority: mode lab has one of its own, from `portside keys init`")
        if self.mode == "lab" and self.hsts != Hsts():
            raise ValueError("hsts needs certificates that browsers trust: mode acme or files")
        return self

    @model_validator(mode="after")
    def _asked_for(self) -> Tls:
        of_acme = {
            "staging": self.staging,
            "directory_url": self.directory_url,
            "profile": self.profile,
        }
        useless = [name for name, said in of_acme.items() if said]
        if self.mode != "acme" and useless:
            raise ValueError(f"{' and '.join(useless)}: only with mode acme")
        if self.staging and self.directory_url:
            raise ValueError("staging is Let's Encrypt's: leave it out beside a directory_url")
        return self

    @property
    def acme_directory(self) -> str:
        """The ACME directory that nodes ask."""
        return self.directory_url or (LETS_ENCRYPT_STAGING if self.staging else LETS_ENCRYPT)

    @property
    def strict_transport_security(self) -> str:
        """The header's value; empty without one."""
        return "" if self.mode == "lab" or self.staging else self.hsts.header


class Replication(_Strict):
    """How many nodes hold each file, and whether an upload waits for the second copy.

    `parallel` and `rate` bound what one node sends to others: pushes at once, bytes per second of
    all of them together (None: no bound).
    """

    factor: int = Field(default=1, ge=1, le=16)
    ack: Literal["local", "replicated"] = "local"
    parallel: int = Field(default=2, ge=1, le=16)
    rate: Size | None = Field(default=None, ge=64 * KIB, le=MOST_RATE)


class Control(_Strict):
    """Where the control plane is, what it keeps its state in, when it takes a node for dead.

    `database` is `sqlite`, `postgresql` (installed there) or a URL. `heartbeat` is seconds between
    two signs of life of a node, `dead_after` the silence after which it gets no uploads any more,
    `repair_after` how long it is then waited for before its files are copied again. `backups` says
    how many of the database's hourly ones stay, `replica` where it is copied to all the time.
    `probe` says whether it asks nodes if they answer from outside: behind NAT that doesn't lead
    back in they may answer everybody but it. `alerts` says who is told what is wrong.
    """

    url: str | None = None
    database: SecretStr = SecretStr("sqlite")
    heartbeat: Duration = Field(default=defaults.HEARTBEAT, ge=1, le=300)
    dead_after: Duration = Field(default=defaults.DEAD_AFTER, ge=3, le=86400)
    repair_after: Duration = Field(default=defaults.REPAIR_AFTER, ge=0, le=30 * 86400)
    backups: int = Field(default=48, ge=1, le=10_000)
    replica: Replica | None = None
    probe: bool = True
    alerts: Alerts | None = None

    @field_validator("url", mode="after")
    @classmethod
    def _base(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not _CONTROL_URL.fullmatch(url):
            raise ValueError(f"{url!r} must be https://<host> or https://<host>:<port>")
        return url.rstrip("/")

    @field_validator("database", mode="after")
    @classmethod
    def _known(cls, database: SecretStr) -> SecretStr:
        value = database.get_secret_value()
        if value not in ("sqlite", "postgresql") and not value.startswith("postgresql://"):
            raise ValueError("must be 'sqlite', 'postgresql' or a postgresql:// URL")
        return database

    @field_validator("replica", mode="after")
    @classmethod
    def _of_sqlite(cls, replica: Replica | None, info: ValidationInfo) -> Replica | None:
        database = info.data.get("database")
        if replica is not None and database and database.get_secret_value() != "sqlite":
            raise ValueError(
                "is for `database: sqlite` alone. PostgreSQL has its own: a standby, or WAL "
                "archived by pgBackRest or wal-g; leave `replica` out here"
            )
        return replica

    @model_validator(mode="after")
    def _patient(self) -> Control:
        least = defaults.LEAST_HEARTBEATS * self.heartbeat
        if self.dead_after < least:
            raise ValueError(
                f"dead_after must be at least three heartbeats ({least}s): one that "
                "is lost on its way must not make a node dead"
            )
        return self


class Cluster(_Strict):
    """A whole cluster file, checked."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    domain: str
    connect: Literal["ssh", "vagrant"] = "ssh"
    ssh: Ssh = Ssh()
    firewall: Firewall = Firewall()
    roles: dict[Role, Pattern] = Field(default_factory=lambda: dict(DEFAULT_PATTERNS))
    nodes: dict[NodeId, NodeSettings] = Field(min_length=1)
    uploads: Uploads = Uploads()
    namespaces: dict[Namespace, NamespaceSettings] = {}
    clamd: ClamdAddress | None = None
    lifetimes: LifetimeSettings = LifetimeSettings()
    limits: Limits = Limits()
    quotas: Quotas = Quotas()
    scrub: Scrub = Scrub()
    hooks: tuple[Hook, ...] = ()
    cold: Cold | None = None
    monitoring: Monitoring = Monitoring()
    telemetry: Telemetry = Telemetry()
    hardening: Hardening = "standard"
    cors: Cors = Cors()
    nginx: NginxSettings = NginxSettings()
    tls: Tls = Tls()
    replication: Replication = Replication()
    control: Control = Field(default=Control(), validate_default=True)
    rollout: Rollout = Rollout()

    @field_validator("domain", mode="after")
    @classmethod
    def _domain(cls, domain: str) -> str:
        if not _DOMAIN.fullmatch(domain):
            bare = domain.lower().partition("://")[2] or domain.lower()
            bare = bare.partition("/")[0].partition(":")[0].strip(".")
            meant = bare if _DOMAIN.fullmatch(bare) else "it as example.net"
            raise ValueError(
                f"{domain!r} is no domain name: write {meant}, in lower case, without scheme, "
                "port, path or a dot at the end"
            )
        return domain

    @field_validator("nodes", mode="before")
    @classmethod
    def _empty_nodes(cls, nodes: Any) -> Any:
        # `s01:` with nothing behind it reads as null: the operator means "all defaults".
        if isinstance(nodes, dict):
            return {name: {} if node is None else node for name, node in nodes.items()}
        return nodes

    @field_validator("namespaces", mode="after")
    @classmethod
    def _kept_by_caches(
        cls, namespaces: dict[str, NamespaceSettings], info: ValidationInfo
    ) -> dict[str, NamespaceSettings]:
        private = info.data["uploads"].private if "uploads" in info.data else ()
        for name in private:
            if name in namespaces and namespaces[name].max_age is not None:
                raise ValueError(f"{name} is private: no cache keeps its files, max_age has no use")
        return namespaces

    @field_validator("clamd", mode="after")
    @classmethod
    def _has_a_use(cls, clamd: ClamdAddress | None, info: ValidationInfo) -> ClamdAddress | None:
        spaces = info.data.get("namespaces")
        if clamd and spaces is not None and all(each.hold != "clamav" for each in spaces.values()):
            raise ValueError("no namespace has `hold: clamav`: give one, or leave clamd out")
        return clamd

    # What spans several keys is checked field by field too: a check of the whole model would only
    # run, and report, once every single key is right.
    @field_validator("nodes", mode="after")
    @classmethod
    def _every_node_has_a_role(
        cls, nodes: dict[str, NodeSettings], info: ValidationInfo
    ) -> dict[str, NodeSettings]:
        patterns = info.data.get("roles")
        wrong = [*_names_too_long(nodes, info.data), *_one_machine_twice(nodes, info.data)]
        # Patterns that are wrong themselves are told of where they are.
        nameless = [
            n
            for n, node in nodes.items()
            if patterns is not None and not (node.roles or roles_of(n, patterns))
        ]
        if nameless:
            wrong.append(
                f"no pattern under 'roles' matches {', '.join(nameless)}: rename the node, or give "
                "it 'roles: [storage]'"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return nodes

    @field_validator("replication", mode="after")
    @classmethod
    def _enough_storage(cls, replication: Replication, info: ValidationInfo) -> Replication:
        if "roles" not in info.data or "nodes" not in info.data:
            return replication
        patterns, nodes = info.data["roles"], info.data["nodes"]
        stored = sum(
            "storage" in (node.roles or roles_of(n, patterns)) for n, node in nodes.items()
        )
        if stored and replication.factor > stored:
            raise ValueError(
                f"factor {replication.factor} needs as many storage nodes, there "
                f"{'is one' if stored == 1 else f'are {stored}'}: add nodes, or lower it"
            )
        return replication

    @field_validator("control", mode="after")
    @classmethod
    def _is_there(cls, control: Control, info: ValidationInfo) -> Control:
        if "roles" not in info.data or "nodes" not in info.data:
            return control
        patterns, nodes = info.data["roles"], info.data["nodes"]
        there = [
            n for n, node in nodes.items() if "control" in (node.roles or roles_of(n, patterns))
        ]
        wrong = []
        if not there:
            useless = [
                f"control.{key}" for key in _OF_A_CONTROL_NODE if key in control.model_fields_set
            ]
            if info.data.get("quotas", Quotas()) != Quotas() and control.url is None:
                useless.append("quotas")
            if useless:
                wrong.append(
                    f"no node has the role control, which {' and '.join(useless)} "
                    f"{'is' if len(useless) == 1 else 'are'} for: add one (c01: {{}}), or leave "
                    f"{'it' if len(useless) == 1 else 'them'} out"
                )
        database = control.database.get_secret_value()
        if len(there) > 1 and "://" not in database:
            wrong.append(
                f"{' and '.join(there)} share one database: give its URL, "
                "`database: postgresql://...`, or leave one control node"
            )
        if wrong:
            raise ValueError("; ".join(wrong))
        return control

    _file: Path | None = PrivateAttr(default=None)
    _notes: tuple[Mistake, ...] = PrivateAttr(default=())

    @property
    def notes(self) -> tuple[Mistake, ...]:
        """What is right, and may mean something else than whoever wrote it thinks."""
        return self._notes

    def home(self, otherwise: Path) -> Path:
        """The folder in which its `secrets/` are: that of the cluster file.

        Files in a folder `clusters` share that of the folder above. `otherwise` is for a cluster
        that comes from no file.
        """
        if self._file is None:
            return otherwise
        folder = self._file.parent
        return folder.parent if folder.name == "clusters" else folder

    @property
    def held(self) -> tuple[str, ...]:
        """Namespaces whose files are served only once they are released."""
        return tuple(name for name, each in self.namespaces.items() if each.hold is not None)

    @property
    def scanned(self) -> tuple[str, ...]:
        """Namespaces whose files ClamAV looks at before they are served."""
        return tuple(name for name, each in self.namespaces.items() if each.hold == "clamav")

    @property
    def unscannable_released(self) -> tuple[str, ...]:
        """Those of them in which what is too much for ClamAV is released unseen."""
        spaces = self.namespaces.items()
        return tuple(name for name, each in spaces if each.unscannable == "release")

    @property
    def installs_clamd(self) -> bool:
        """Whether storage nodes get a ClamAV of their own: where one is named it is somebody's."""
        return bool(self.scanned) and self.clamd is None

    @property
    def max_age(self) -> dict[str, int]:
        """Seconds for which caches may keep files, of the namespaces for which that is said."""
        return {
            name: each.max_age or 0
            for name, each in self.namespaces.items()
            # No cache is to show for a year what ends tomorrow: it asks each time.
            if each.max_age is not None or (each.ends and name not in self.uploads.private)
        }

    @property
    def lifetime_rules(self) -> Lifetimes:
        """How long files live, as agents and the control plane have it in their settings."""
        spaces = self.namespaces.items()
        return Lifetimes(
            grace=self.lifetimes.grace,
            default={name: each.lifetime for name, each in spaces if each.lifetime},
            longest={name: each.max_lifetime for name, each in spaces if each.max_lifetime},
        )

    def roles_of(self, node_id: str) -> tuple[Role, ...]:
        """The node's roles: its own `roles` if it has any, else what its name says."""
        return self.nodes[node_id].roles or roles_of(node_id, self.roles)

    def with_role(self, role: Role) -> tuple[str, ...]:
        """Ids of the nodes with `role`, in the file's order."""
        return tuple(node_id for node_id in self.nodes if role in self.roles_of(node_id))

    def host(self, node_id: str) -> str:
        """The node's DNS name: `s01` -> `s01.example.net`."""
        return f"{node_id}.{self.domain}"

    def public_base_url(self, node_id: str) -> str:
        """Where the node's files are served from: `https://s01.example.net`."""
        return f"https://{self.host(node_id)}"

    def upload_api_url(self, node_id: str) -> str:
        """Where uploads to the node go: `https://s01.example.net/api/internal/upload`."""
        return f"{self.public_base_url(node_id)}{paths.UPLOAD}"

    @property
    def control_url(self) -> str | None:
        """Where the control plane answers; None in a cluster that has none.

        Without `control.url` it is the first control node: on HTTPS's own port or, where that
        belongs to the node's uploads and files, on CONTROL_PORT_BESIDE_STORAGE.
        """
        control_nodes = self.with_role("control")
        if self.control.url is not None or not control_nodes:
            return self.control.url
        first = control_nodes[0]
        if "storage" in self.roles_of(first):
            return f"https://{self.host(first)}:{CONTROL_PORT_BESIDE_STORAGE}"
        return f"https://{self.host(first)}"


def _names_too_long(nodes: dict[str, NodeSettings], others: dict[str, Any]) -> Iterator[str]:
    for node_id in nodes:
        host = f"{node_id}.{others.get('domain', '')}"
        if len(host) > _LONGEST_HOST:
            yield f"{host} has {len(host)} characters, host names {_LONGEST_HOST} at most"


def _one_machine_twice(nodes: dict[str, NodeSettings], others: dict[str, Any]) -> Iterator[str]:
    """Nodes that SSH would find at one place: the second would take the first one's files."""
    first: dict[tuple[str, int | None, str | None], str] = {}
    every = others.get("ssh", Ssh())
    for node_id, node in nodes.items():
        address = (node.address or f"{node_id}.{others.get('domain', '')}").lower()
        # Behind one address, or behind hops of their own, there may be many machines.
        place = address, node.ssh.port or every.port, node.ssh.jump or every.jump
        if place in first:
            yield (
                f"{first[place]} and {node_id} are one machine, {address}: give each its own "
                "address, or its own ssh.port behind a shared one"
            )
        first.setdefault(place, node_id)


class ClusterError(Exception):
    """A cluster file that can't be used; `problems` holds one line per mistake, with its key."""

    def __init__(self, source: str, problems: Sequence[Mistake | str]) -> None:
        self.source = source
        self.mistakes = [Mistake(each) if isinstance(each, str) else each for each in problems]
        self.problems = [str(each) for each in self.mistakes]
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(f"{source}: {len(self.problems)} to mend\n{listed}")


class NoClusterFile(ClusterError):
    """None was named, and none is where it is looked for."""

    def __init__(self, directory: Path, advice: str = "") -> None:
        self._directory = directory
        super().__init__(
            str(directory),
            [
                f"no cluster file: looked for {' and '.join(_NAMES)} in {directory}, and "
                f"{CLUSTER_VARIABLE} isn't set. Name one with {CLUSTER_VARIABLE}"
                + (f", {advice}" if advice else "")
            ],
        )

    def advise(self, advice: str) -> NoClusterFile:
        """The same, with what else whoever asked can do."""
        return NoClusterFile(self._directory, advice)

    def __str__(self) -> str:
        """Nothing is to be mended in a file."""
        return self.problems[0]


def parse(text: str, source: str = "cluster file", path: Path | None = None) -> Cluster:
    """Read a cluster file's text.

    Raises ClusterError with every mistake at once; `source` is the name it is reported under.
    With the `path` that it comes from, the files that it names are found from there.
    """
    try:
        document = read(text)
    except NoDocument as error:
        raise ClusterError(source, [error.mistake]) from None
    if not isinstance(document.data, dict):
        raise ClusterError(
            source, ["is empty or no mapping: write keys with values, as clusters/example.yaml has"]
        )
    folders = None if path is None else folders_of(path)
    try:
        cluster = Cluster.model_validate(document.data, context=folders)
    except ValidationError as error:
        raise ClusterError(source, words.mistakes(error, Cluster, document)) from None
    if document.mistakes:
        raise ClusterError(source, document.mistakes)
    cluster._file = None if path is None else path.absolute()
    cluster._notes = tuple(words.notes(Cluster, document))
    return cluster


def load(path: Path) -> Cluster:
    """Read the cluster file at `path`. Raises ClusterError, also when it can't be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ClusterError(
            str(path), [f"can't be read: {error.strerror}: {path.absolute()}"]
        ) from None
    except ValueError:
        raise ClusterError(str(path), ["can't be read: it is no text in UTF-8"]) from None
    return parse(text, str(path), path)


_NAMES = ("cluster.yaml", "clusters/lab.yaml")
"""What is looked for where nobody names a cluster file."""


def find(directory: Path) -> Path:
    """The cluster file in use. Raises NoClusterFile.

    PORTSIDE_CLUSTER names it, seen from the current folder as every path of a command is; without
    that it is `cluster.yaml` of `directory` if there is one, else the lab's.
    """
    named = os.environ.get(CLUSTER_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    for name in _NAMES:
        if (directory / name).exists():
            return directory / name
    raise NoClusterFile(directory)
