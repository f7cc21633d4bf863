"""The agent's settings: `/etc/portside/agent.toml`, written by the deploy, read once at start."""

from __future__ import annotations

import os
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from portside.bucket import Bucket
from portside.cluster import defaults
from portside.cluster.bandwidth import BandwidthLimits
from portside.cluster.clamd import ClamdAddress
from portside.cluster.lifetimes import Lifetimes
from portside.sizing import Sizing
from portside.tracing.collector import Collector
from portside.wire.fields import Namespace
from portside.wire.hooks import Hook

CONFIG_VARIABLE = "PORTSIDE_AGENT_CONFIG"
DEFAULT_CONFIG = Path("/etc/portside/agent.toml")

_AWS = "https://s3.amazonaws.com"


class SettingsError(Exception):
    """Settings that can't be used; the message lists every mistake with its key."""


class Cold(Bucket):
    """Where committed files are backed up to, and how."""

    credentials_file: Path
    rate: int = Field(gt=0)
    """Bytes per second that are sent."""
    keep_deleted: int | None = Field(default=None, ge=0)
    """Seconds that a deleted file's object is kept: 0 not at all, without it for good."""

    @property
    def target(self) -> str:
        """The tier's address: that of each object begins with it."""
        return f"{self.endpoint or _AWS}/{self.bucket}/{self.prefix}"

    def takes(self, namespace: str) -> bool:
        """Whether files of this namespace are backed up."""
        return not self.namespaces or namespace in self.namespaces

    def address(self, key: str) -> str:
        """The address of the object with this key."""
        return self.target.removesuffix(self.prefix) + key

    def key(self, address: str) -> str | None:
        """The key of an object by its address; None for one of another bucket or prefix."""
        if not address.startswith(self.target):
            return None
        return self.prefix + address.removeprefix(self.target)


class Settings(BaseModel):
    """What an agent needs to know. Sizes are bytes, durations seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    node_id: str = Field(min_length=1, max_length=63)
    public_base_url: str = Field(pattern=r"^https?://[^/]+$")
    root: Path
    keyset: Path
    node_key: Path
    roster: Path
    ca: Path | None = None
    """The cluster's own certificate authority; without it the system's vouch for other nodes."""
    max_size: int = Field(gt=0)
    extensions: tuple[str, ...] = Field(min_length=1)
    private: tuple[str, ...]
    """Namespaces whose files are served to holders of a token only."""
    max_age: dict[Namespace, Annotated[int, Field(ge=0)]] = {}
    """Seconds for which caches may keep a namespace's files; the others have to ask."""
    lifetimes: Lifetimes = Lifetimes()
    """How long files live, by namespace, and for how long an end can be taken back."""
    held: tuple[Namespace, ...] = ()
    """Namespaces whose files are served only once they are released."""
    scanned: tuple[Namespace, ...] = ()
    """Those of them whose files ClamAV looks at: what is clean is released."""
    unscannable_released: tuple[Namespace, ...] = ()
    """Those of them in which a file that is too much for ClamAV is released unseen."""
    scanner: ClamdAddress = ClamdAddress()
    """Where ClamAV's daemon listens."""
    uploads_per_minute: int = Field(gt=0)
    """Uploads that one owner may begin in a minute."""
    slots_per_token: int = Field(default=defaults.SLOTS_PER_TOKEN, gt=0)
    """Uploads, or parts of one, that one token may have under way."""
    slots_per_owner: float = Field(default=defaults.SLOTS_PER_OWNER, gt=0, le=1)
    """Of all upload slots: what one owner may have."""
    slots_per_address: float = Field(default=defaults.SLOTS_PER_ADDRESS, gt=0, le=1)
    """Of all upload slots: what one address may have."""
    shared_addresses: tuple[str, ...] = ()
    """Networks behind whose addresses are many users."""
    least_rate: int = Field(default=defaults.LEAST_RATE, gt=0)
    """Bytes per second; who is behind it for too long gives way when slots are scarce."""
    idle_after: float = Field(default=60, gt=0)
    """Seconds behind it: longer than any pause of a line that works."""
    wrong_tokens_per_minute: int = Field(default=defaults.WRONG_TOKENS_PER_ADDRESS, gt=0)
    """Tokens that nobody has signed and one address may try in a minute."""
    bandwidth: BandwidthLimits = BandwidthLimits()
    """Bytes per second of uploads and downloads."""
    scrub_rate: int = Field(gt=0)
    """Bytes per second that the scrubber reads."""
    scrub_every: int = Field(gt=0)
    """Seconds between two readings of one file."""
    hooks: tuple[Hook, ...] = ()
    heartbeat_every: float = Field(default=15, gt=0, le=300)
    """Seconds between two heartbeats, until the control plane says otherwise."""
    agent_socket: Path = Path("/run/portside/agent.sock")
    """Where the worker asks the web side how it is."""
    cold: Cold | None = None
    push_parallel: int = Field(default=2, gt=0)
    """Copies that this node sends to others at once."""
    push_rate: int | None = Field(default=None, gt=0)
    """Bytes per second that it sends in all; None is without a bound."""
    otlp: Collector | None = None
    """Where spans go; without it none is recorded."""
    ack_timeout: int = Field(default=600, gt=0)
    """Seconds that an upload with `ack: replicated` waits for its second copy."""
    sizing: Sizing

    @field_validator("sizing", mode="before")
    @classmethod
    def _sizing(cls, value: Any) -> Any:
        # Told in full by the deploy: a number worked out again here could differ from nginx's.
        if not isinstance(value, dict):
            return value
        known = {each.name for each in fields(Sizing)}
        wrong = sorted(known ^ value.keys())
        if wrong:
            raise ValueError(f"missing or unknown: {', '.join(wrong)}; deploy this node again")
        return Sizing(**value)

    @property
    def uploads(self) -> Path:
        """Where committed files are; nginx serves this folder."""
        return self.root / "uploads"

    @property
    def staging(self) -> Path:
        """Where files grow until they are committed: the same filesystem as `uploads`."""
        return self.root / "staging"

    @property
    def quarantine(self) -> Path:
        """Where damaged files are kept, never served: the same filesystem as `uploads`."""
        return self.root / "quarantine"

    @property
    def ended(self) -> Path:
        """Where files lie whose time is over, never served: the same filesystem as `uploads`."""
        return self.root / "ended"

    @property
    def index(self) -> Path:
        """The SQLite database: the index of files, uploads under way, deliveries."""
        return self.root / "state" / "index.sqlite"

    @property
    def received_roster(self) -> Path:
        """A roster that came with a heartbeat's answer."""
        return self.root / "state" / "roster.json"

    @property
    def revoked(self) -> Path:
        """Tokens that were revoked on this node itself: they outlive the index."""
        return self.root / "state" / "revoked.json"

    @property
    def worker_report(self) -> Path:
        """What the worker last found, for the web side to read."""
        return self.root / "state" / "worker.json"

    @property
    def spans(self) -> Path:
        """Where the worker takes the web side's spans, for it may go out with them."""
        return self.root / "state" / "spans.sock"

    @property
    def reserve(self) -> Path:
        """Files that hold room for deletions and starts on a full disk: `agent.storage.reserve`."""
        return self.root / "state" / "reserve"

    @property
    def marker(self) -> Path:
        """Proves that the data filesystem is mounted; holds the node's id."""
        return self.root / ".portside-root"


def load(path: Path | None = None) -> Settings:
    """Read the settings from `path`, or where PORTSIDE_AGENT_CONFIG says.

    Raises SettingsError with every mistake at once.
    """
    source = path or Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
        return Settings.model_validate(data)
    except ValidationError as error:
        listed = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise SettingsError(f"{source}: {listed}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{source}: can't be read: {error}") from None
