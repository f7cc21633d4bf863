"""Which control plane is meant, and the API key for it: kept from `portside login` on.

`$XDG_CONFIG_HOME/portside/login.json` (XDG base directory specification) is for its owner's eyes
only. PORTSIDE_URL, PORTSIDE_API_KEY and PORTSIDE_CA stand in for what it says.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from portside import durable_file
from portside.client import xdg
from portside.client.http.answers import must_keep_secrets
from portside.client.pasted import secret_of, unquoted

URL_VARIABLE = "PORTSIDE_URL"
KEY_VARIABLE = "PORTSIDE_API_KEY"
CA_VARIABLE = "PORTSIDE_CA"

_KEY = re.compile(r"[!-~]{8,512}")


class NotLoggedIn(Exception):
    """There is no control plane to ask, or no key for it; the message says what to do."""


class Login(BaseModel):
    """A control plane and the key for it; `ca` is the PEM file of the cluster's own authority."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    api_key: str = Field(repr=False)
    ca: Path | None = None


def login_file() -> Path | None:
    """Where the login is kept; None for a user who has no place for one."""
    folder = xdg.folder("XDG_CONFIG_HOME", ".config")
    return folder / "portside" / "login.json" if folder else None


def origin_of(url: str) -> str:
    """The control plane's URL as it is asked: `control.example.net` is `https://...` as well.

    Raises ValueError for one with a path or a user, or that would send the key in the clear.
    """
    given = unquoted(url)
    scheme, _, host = given.rpartition("://")
    full = f"{scheme.lower() or 'https'}://{host.rstrip('/')}"
    if not re.fullmatch(r"https?://[^/?#@\s]+", full):
        raise ValueError(f"{url!r}: a control plane's URL is https:// and its host, no more")
    must_keep_secrets(full, "the control plane's")
    return full


def checked_key(text: str) -> str:
    """An API key without what it was kept in. Raises ValueError, which doesn't quote it."""
    key = secret_of(text)
    if not _KEY.fullmatch(key):
        raise ValueError(
            "that is no API key: it is one word of 8 characters or more, as printed by "
            "`portside app create`"
        )
    return key


def current() -> Login | None:
    """The login in force: the environment's, else the kept one; None when there is neither.

    Raises NotLoggedIn where only half of one is there: a kept key never goes to another URL.
    """
    kept = _kept()
    url, key, ca = (os.environ.get(name) for name in (URL_VARIABLE, KEY_VARIABLE, CA_VARIABLE))
    if not (url or key):
        return kept.model_copy(update={"ca": Path(ca)}) if kept and ca else kept
    if not url and kept is None:
        raise NotLoggedIn(f"{KEY_VARIABLE} is set, but not {URL_VARIABLE}: set both")
    origin = origin_of(url) if url else kept.url if kept else ""
    same = kept if kept and kept.url == origin else None
    if not key and same is None:
        raise NotLoggedIn(
            f"{URL_VARIABLE} is set to {origin}, for which there is no key: set {KEY_VARIABLE}, or "
            f"run `portside login {origin}`"
        )
    return Login(
        url=origin,
        api_key=checked_key(key) if key else same.api_key if same else "",
        ca=Path(ca) if ca else same.ca if same else None,
    )


def named_ca() -> Path | None:
    """The authority that the environment names."""
    named = os.environ.get(CA_VARIABLE)
    return Path(named) if named else None


def keep(login: Login) -> Path:
    """Replace the kept login, at once and for good. Raises OSError and NotLoggedIn."""
    path = login_file()
    if path is None:
        raise NotLoggedIn(
            "no home folder to keep a login in: set HOME or XDG_CONFIG_HOME, or set "
            f"{URL_VARIABLE} and {KEY_VARIABLE} in place of a login"
        )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    durable_file.replace(path, login.model_dump_json().encode() + b"\n", 0o600)
    return path


def forget() -> bool:
    """Remove the kept login; returns whether there was one. Raises OSError."""
    path = login_file()
    if path is None:
        return False
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _kept() -> Login | None:
    path = login_file()
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise NotLoggedIn(
                    f"{path} can be read by others: revoke its key, then log in anew, or "
                    f"`chmod 600 {path}` if nobody has"
                )
            return Login.model_validate_json(file.read())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotLoggedIn(f"{path}: {error.strerror}") from None
    except ValidationError:
        # Its content isn't quoted: there is a key in it.
        raise NotLoggedIn(
            f"{path} is no login of this release: run `portside login URL` anew"
        ) from None
