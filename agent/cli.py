"""`portside-agent`: what the deploy and systemd run on a node."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from agent import identity, journal, settings, worker
from agent.health import NodeUnfit, check_marker
from agent.reindex import reindex
from agent.settings import Settings
from portside.tokens import Keyset


def main() -> None:
    """The command's entry point: a mistake ends in one line and exit code 1."""
    arguments = _parser().parse_args()
    try:
        found = settings.load(arguments.config)
        if arguments.command == "identity":
            _identity(found, arguments.create)
        elif arguments.command == "check":
            _check(found)
        elif arguments.command == "reindex":
            _reindex(found)
        else:
            journal.configure()
            worker.run(found)
    except (
        settings.SettingsError,
        identity.IdentityError,
        NodeUnfit,
        OSError,
        ValueError,
    ) as error:
        print(f"portside-agent: {error}", file=sys.stderr)
        sys.exit(1)


def _identity(found: Settings, create: bool) -> None:
    act = identity.create if create else identity.load
    print(act(found.node_key, found.node_id).public().model_dump_json(exclude_none=True))


def _check(found: Settings) -> None:
    Keyset.model_validate_json(found.keyset.read_bytes())
    identity.load(found.node_key, found.node_id)
    check_marker(found)
    print(f"{found.node_id}: settings, keys and {found.root} are in order")


def _reindex(found: Settings) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)
    rebuilt = reindex(found)
    print(
        f"{rebuilt.indexed} files indexed, {rebuilt.removed} rows of missing files removed, "
        f"{len(rebuilt.refused)} not indexed"
    )
    if rebuilt.refused:
        sys.exit("portside-agent: the log above says why some files are not indexed")


def _become_owner_of(root: Path) -> None:
    """Root would leave files behind that the agent's user can't write."""
    if os.geteuid() == 0:
        owner = root.stat()
        os.setgroups([])
        os.setgid(owner.st_gid)
        os.setuid(owner.st_uid)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portside-agent", description="A storage node's agent.")
    commands = parser.add_subparsers(dest="command", required=True)
    show = commands.add_parser("identity", help="print the node's public key as a JWK")
    show.add_argument("--create", action="store_true", help="make the key first if there is none")
    commands.add_parser("check", help="check settings, keys and the data filesystem")
    commands.add_parser("reindex", help="rebuild the index from the attributes beside the files")
    commands.add_parser("worker", help="run the worker in the foreground, as its unit does")
    for command in commands.choices.values():
        command.add_argument(
            "--config",
            type=Path,
            help="the agent.toml to use; the variable PORTSIDE_AGENT_CONFIG names it too",
        )
    return parser
