"""`portside-agent`: what the deploy and systemd run on a node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from agent import identity, journal, settings, worker
from agent.health import NodeUnfit, check_marker
from portside.tokens import Keyset

app = typer.Typer(no_args_is_help=True, add_completion=False, help="A storage node's agent.")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="The agent.toml to use; PORTSIDE_AGENT_CONFIG names it too."),
]


@app.command("identity")
def show_identity(
    create: Annotated[bool, typer.Option("--create", help="Make the key if missing.")] = False,
    config: Config = None,
) -> None:
    """Print the node's public key as a JWK; `--create` makes the key first if there is none."""
    found = settings.load(config)
    act = identity.create if create else identity.load
    key = act(found.node_key, found.node_id)
    typer.echo(key.public().model_dump_json(exclude_none=True))


@app.command()
def check(config: Config = None) -> None:
    """Check settings, keys and the data filesystem; changes nothing."""
    found = settings.load(config)
    Keyset.model_validate_json(found.keyset.read_bytes())
    identity.load(found.node_key, found.node_id)
    check_marker(found)
    typer.echo(f"{found.node_id}: settings, keys and {found.root} are in order")


@app.command("worker")
def run_worker(config: Config = None) -> None:
    """Run the agent's worker in the foreground, as its systemd unit does."""
    journal.configure()
    worker.run(settings.load(config))


def main() -> None:
    """The command's entry point: a mistake ends in one line and exit code 1."""
    try:
        app()
    except (
        settings.SettingsError,
        identity.IdentityError,
        NodeUnfit,
        OSError,
        ValueError,
    ) as error:
        typer.echo(f"portside-agent: {error}", err=True)
        sys.exit(1)
