"""`portside login` and `logout`: which control plane the other commands ask, and with which key."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from portside.client import login
from portside.client.login import Login
from portside.client.pasted import secret_in
from portside.commands.common import control_plane, say


def command(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The control plane's, as https://c01.example.net.")
    ],
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the API key; '-' is stdin. Without it the key is asked for.",
            show_default=False,
        ),
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the cluster's own authority; trusted from now on, for the control "
            "plane and its nodes, instead of the system's.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Remember a control plane and an API key for it, which is checked first.

    An operator makes the key: `portside app create`. It is kept in
    $XDG_CONFIG_HOME/portside/login.json, readable by you alone. PORTSIDE_URL, PORTSIDE_API_KEY and
    PORTSIDE_CA stand in for it.
    """
    origin = login.origin_of(url)
    wanted = Login(url=origin, api_key=_key(key_file), ca=ca.resolve() if ca else None)
    with control_plane(wanted) as control:
        control.check_key()
    path = login.keep(wanted)
    say(f"logged in to {origin}; the key is in {path}")


def logout() -> None:
    """Forget the control plane and its key here. The key itself still counts: revoke it there."""
    say("logged out" if login.forget() else "not logged in")


def _key(key_file: Path | None) -> str:
    # Never an option's value: command lines can be read by everyone on the machine.
    if key_file is not None and str(key_file) != "-":
        return login.checked_key(secret_in(key_file))
    if key_file is None and sys.stdin.isatty():
        return login.checked_key(typer.prompt("API key", hide_input=True, err=True))
    return login.checked_key(sys.stdin.read())
