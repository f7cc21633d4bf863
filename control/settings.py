"""The control plane's settings: `/etc/portside/control.toml`, written by the deploy, read at start.

A variable PORTSIDE_CONTROL_<KEY> stands in for a key of the file (for a container or a trial); the
file named by PORTSIDE_CONTROL_CONFIG stands in for the usual one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from portside.cluster import defaults
from portside.cluster.lifetimes import Lifetimes
from portside.cluster.quotas import Quotas
from portside.wire.fields import Namespace

CONFIG_VARIABLE = "PORTSIDE_CONTROL_CONFIG"
DEFAULT_CONFIG = Path("/etc/portside/control.toml")


class SettingsError(Exception):
    """Settings that can't be used; the message lists every mistake with its key."""


class Settings(BaseSettings):
    """What the control plane needs to know. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="PORTSIDE_CONTROL_")

    cluster: str = Field(min_length=1, max_length=32)
    control_url: str = Field(pattern=r"^https?://[^/\s]+(/[^\s]*[^/\s])?$")
    """Where nodes and apps reach the control plane."""
    database: SecretStr | None = None
    """`sqlite:////path` or `postgresql://...`"""
    database_file: Path | None = None
    """A 0600 file with that URL instead, which keeps its password out of this one."""
    replica_socket: Path | None = None
    """Where litestream tells how old its copy of the database is; None: there is no copy."""
    copies: Path | None = None
    """Where the database's hourly copies lie; None: somebody else backs it up."""
    connections: int = Field(default=16, ge=2, le=200)
    """To the database, of each process."""
    roster: Path
    """The nodes as the deploy last saw them."""
    keyset: Path | None = None
    """The public keys that nodes trust: tells whether they know ours."""
    issuer: str = Field(min_length=1, max_length=64)
    issuer_key: Path | None = None
    """The private key that signs upload and download tokens."""
    factor: int = Field(default=1, ge=1, le=16)
    """Nodes that should have each file."""
    ack: Literal["local", "replicated"] = "local"
    start_within: int = Field(default=defaults.START_WITHIN, ge=10)
    """Seconds in which an upload must begin."""
    session_deadline: int = Field(default=defaults.SESSION_DEADLINE, ge=60)
    """Seconds in which it must end; its space is held that long."""
    download_seconds: int = Field(default=900, ge=10)
    """How long a signed download URL counts."""
    max_size: int = Field(default=defaults.MAX_SIZE, gt=0)
    extensions: tuple[str, ...] = Field(min_length=1)
    private: tuple[str, ...] = ()
    """Namespaces whose files are served to holders of a token only."""
    max_age: dict[Namespace, Annotated[int, Field(ge=0)]] = {}
    """Seconds for which caches may keep a namespace's files."""
    scanned: tuple[Namespace, ...] = ()
    """Namespaces whose files each node's ClamAV looks at before they are served."""
    lifetimes: Lifetimes = Lifetimes()
    """How long files live, by namespace, and for how long an end can be taken back."""
    quotas: Quotas = Quotas()
    """What owners and apps may have at most, where nothing else was set at run time."""
    heartbeat_every: float = Field(default=defaults.HEARTBEAT, gt=0)
    """Seconds between two signs of life of a node."""
    dead_after: float = Field(default=defaults.DEAD_AFTER, gt=0)
    """Seconds of silence after which a node is `down`: it gets no uploads any more."""
    repair_after: float = Field(default=defaults.REPAIR_AFTER, ge=0)
    """Seconds for which a node that is down is waited for before its files are copied again."""
    probe: bool = True
    """Whether nodes are asked from here if they answer; else their heartbeats alone count."""
    ca: Path | None = None
    """Trusted instead of the system's CAs where nodes are asked from here."""
    sessions_per_app: int = Field(default=60_000, gt=0)
    """A minute's; of each gunicorn process, as are the next two."""
    sessions_per_owner: int = Field(default=defaults.SESSIONS_PER_OWNER, gt=0)
    promised_per_owner: float = Field(default=defaults.PROMISED_PER_OWNER, gt=0, le=1)
    """Of what a pool may promise: what the open sessions of one owner may hold. 1 is no bound."""
    sessions_per_address: int = Field(default=600, gt=0)
    wrong_keys_per_minute: int = Field(default=defaults.WRONG_TOKENS_PER_ADDRESS, gt=0)
    """Keys and tokens that are none and one address may try in a minute."""

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if (self.database is None) == (self.database_file is None):
            raise ValueError("exactly one of 'database' and 'database_file' is needed")
        if self.dead_after < defaults.LEAST_HEARTBEATS * self.heartbeat_every:
            raise ValueError(
                "'dead_after' must be at least three times 'heartbeat_every': a heartbeat that is "
                "lost on its way must not make a node dead"
            )
        return self

    def database_url(self) -> str:
        """The database's URL, secrets included: never log it. Raises SettingsError."""
        if self.database is not None:
            return self.database.get_secret_value()
        assert self.database_file is not None  # noqa: S101 (held by _consistent)
        try:
            return self.database_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{self.database_file}: can't be read: {error}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment, then what is handed over: `load` hands over the file."""
        return env_settings, init_settings


def load(path: Path | None = None) -> Settings:
    """Read the settings from `path`, or where PORTSIDE_CONTROL_CONFIG says.

    Raises SettingsError with every mistake at once.
    """
    source = path or Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    if not source.is_file():
        raise SettingsError(f"{source}: there is no such file: deploy the control plane first")
    try:
        return Settings(**TomlConfigSettingsSource(Settings, source)())
    except ValidationError as error:
        listed = "; ".join(
            f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')}".lstrip(": ")
            for e in error.errors(include_input=False)
        )
        raise SettingsError(f"{source}: {listed}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{source}: can't be read: {error}") from None
