"""`portside-agent`: what the deploy and systemd run on a node."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from agent import settings, worker
from agent.cluster import announced, identity
from agent.cold.credentials import Credentials, CredentialsError
from agent.cold.meanings import ColdError
from agent.cold.restore import Wanted
from agent.commands import adopt, cold, fsck, leaving, outbox, quarantine, tokens
from agent.host.tls import trust
from agent.integrity.fsck_areas import MINIMUM_AGE, Orders
from agent.integrity.reindex import reindex
from agent.settings import Settings
from agent.storage.staging import DiskFailed, DiskFull
from agent.telemetry.health import NodeUnfit, check_marker, check_write
from portside import journal
from portside.wire.keys import Keyset


def main() -> None:
    """The command's entry point: a mistake ends in one line and exit code 1."""
    arguments = _parser().parse_args()
    try:
        found = settings.load(arguments.config)
        if arguments.command == "identity":
            _identity(found, arguments)
        elif arguments.command == "check":
            _check(found)
        elif arguments.command == "reindex":
            _reindex(found)
        elif arguments.command == "fsck":
            _fsck(found, arguments)
        elif arguments.command == "adopt":
            sys.exit(adopt.run(found, adopt.wish_of(arguments), sys.stdin))
        elif arguments.command == "quarantine":
            _quarantine(found, arguments)
        elif arguments.command == "deliveries":
            _listed(outbox.deliveries, found, arguments)
        elif arguments.command == "pushes":
            _listed(outbox.pushes, found, arguments)
        elif arguments.command == "leaving":
            _leaving(found, arguments)
        elif arguments.command == "revoke":
            _prepare(found)
            print(tokens.revoke(found, arguments.named, arguments.reason, sys.stdin))
        elif arguments.command == "revoked":
            _prepare(found)
            print(tokens.listed(found))
        elif arguments.command == "cold":
            _cold(found, arguments.action)
        elif arguments.command == "restore":
            _restore(found, arguments)
        else:
            journal.configure()
            worker.run(found)
    except (
        settings.SettingsError,
        identity.IdentityError,
        NodeUnfit,
        worker.WorkerFailed,
        CredentialsError,
        ColdError,
        DiskFull,
        DiskFailed,
        OSError,
        ValueError,
    ) as error:
        print(f"portside-agent: {error}", file=sys.stderr)
        sys.exit(1)


def _identity(found: Settings, arguments: argparse.Namespace) -> None:
    if arguments.take_over is not None:
        announced.wait(found, arguments.take_over)
        key = identity.take_over(found.node_key, found.node_id, arguments.take_over)
    elif arguments.prepare:
        key = identity.prepare(found.node_key, found.node_id)
    elif arguments.create:
        key = identity.create(found.node_key, found.node_id)
    else:
        key = identity.load(found.node_key, found.node_id)
    print(key.public().model_dump_json(exclude_none=True))


def _check(found: Settings) -> None:
    Keyset.model_validate_json(found.keyset.read_bytes())
    identity.load(found.node_key, found.node_id)
    trust(found.ca)
    check_marker(found)
    if found.cold is not None:
        Credentials.read(found.cold.credentials_file)
    print(f"{found.node_id}: settings, keys and {found.root} are in order")


def _reindex(found: Settings) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)
    rebuilt = reindex(found)
    print(
        f"{rebuilt.indexed} files indexed, {rebuilt.deleted} deleted and {rebuilt.quarantined} "
        f"quarantined ones known, {rebuilt.removed} rows of missing files removed, "
        f"{rebuilt.refused} not indexed"
    )
    if rebuilt.ended:
        print(f"{rebuilt.ended} whose time is over, kept for their grace")
    if rebuilt.refused:
        sys.exit("portside-agent: the log above says why some files are not indexed")


def _fsck(found: Settings, arguments: argparse.Namespace) -> None:
    journal.configure()
    check_marker(found)
    key = identity.load(found.node_key, found.node_id) if arguments.repair else None
    _become_owner_of(found.root)
    orders = Orders(digests=arguments.digests, minimum_age=arguments.minimum_age)
    sys.exit(fsck.run(found, orders, key, in_json=arguments.json))


def _quarantine(found: Settings, arguments: argparse.Namespace) -> None:
    journal.configure()
    check_marker(found)
    key = identity.load(found.node_key, found.node_id)
    _become_owner_of(found.root)
    orders = quarantine.Orders(
        arguments.action,
        arguments.ids,
        by=arguments.by,
        accept_loss=arguments.accept_loss,
        ask=not arguments.no_ask,
        in_json=arguments.json,
    )
    if arguments.action == "settle":
        check_write(found)
    sys.exit(quarantine.run(found, key, orders, lambda line: print(line, flush=True)))


def _listed(
    run: Callable[[Settings, outbox.Action, Sequence[str]], str],
    found: Settings,
    arguments: argparse.Namespace,
) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)
    print(run(found, arguments.action, arguments.ids))


def _leaving(found: Settings, arguments: argparse.Namespace) -> None:
    journal.configure()
    check_marker(found)
    key = identity.load(found.node_key, found.node_id) if arguments.ask else None
    _become_owner_of(found.root)
    for line in leaving.run(found, key, arguments, sys.stdin):
        print(line)


def _cold(found: Settings, action: cold.Action) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)
    print(cold.run(found, action))


def _restore(found: Settings, arguments: argparse.Namespace) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)
    key = identity.load(found.node_key, found.node_id)
    wanted = Wanted(arguments.prefix or "", arguments.file_id, arguments.digests)
    restored = cold.restore(found, wanted, key)
    print(cold.summary(restored))
    if restored.refused:
        sys.exit("portside-agent: the log above says why some files are not restored")
    known = restored.restored or restored.intact or restored.deleted or restored.ended
    if arguments.file_id and not known:
        sys.exit(f"portside-agent: {arguments.file_id} is not in the cold tier")


def _prepare(found: Settings) -> None:
    journal.configure()
    check_marker(found)
    _become_owner_of(found.root)


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
    ways = show.add_mutually_exclusive_group()
    ways.add_argument("--create", action="store_true", help="make the key first if there is none")
    ways.add_argument(
        "--prepare", action="store_true", help="make the one that is to follow it, and print that"
    )
    ways.add_argument(
        "--take-over",
        metavar="KID",
        help="sign with the prepared key from now on, as the roster"
        " knows it already: `fab rotate-keys` does both",
    )
    commands.add_parser("check", help="check settings, keys and the data filesystem")
    commands.add_parser("reindex", help="rebuild the index from the attributes beside the files")
    _add_fsck(commands.add_parser("fsck", help="compare files with the index, and mend"))
    adopt.add_to(commands.add_parser("adopt", help="make files on this node's disks stored ones"))
    _add_quarantine(commands.add_parser("quarantine", help="damaged files, and settling each"))
    deliveries = commands.add_parser("deliveries", help="what hooks were not told of yet")
    deliveries.description = (
        "Deliveries to hooks and to the control plane that are not made: waiting, or given up."
    )
    pushes = commands.add_parser("pushes", help="copies that other nodes don't have yet")
    pushes.description = "Copies to other nodes that are not made: waiting, or given up."
    for parser_of_list in (deliveries, pushes):
        _add_actions(parser_of_list)
    leaving.add_arguments(commands.add_parser("leaving", help="what would go with this node"))
    revoke = commands.add_parser("revoke", help="have a token count no more on this node")
    revoke.description = (
        "For nodes without a control plane. What was stored with the token before stays."
    )
    revoke.add_argument(
        "named", metavar="ID|-", help="the token's 'jti'; with - it or the token is read from stdin"
    )
    revoke.add_argument("--reason", default="", metavar="TEXT", help="kept beside it")
    commands.add_parser("revoked", help="tokens that count no more on this node")
    _add_cold(commands.add_parser("cold", help="what is backed up to the cold tier"))
    _add_restore(commands.add_parser("restore", help="bring files back from the cold tier"))
    commands.add_parser("worker", help="run the worker in the foreground, as its unit does")
    for command in commands.choices.values():
        command.add_argument(
            "--config",
            type=Path,
            help="the agent.toml to use; the variable PORTSIDE_AGENT_CONFIG names it too",
        )
    return parser


def _add_fsck(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Compares data, attributes and index beside a working agent. Exit code 0: clean; 1: "
        "something was mended or could be; 2: a file is lost or damaged; 3: not carried out."
    )
    parser.add_argument("--repair", action="store_true", help="mend what is found")
    parser.add_argument(
        "--digests", action="store_true", help="read every file and compare its SHA-256"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--minimum-age",
        type=float,
        default=MINIMUM_AGE,
        metavar="SECONDS",
        help="leave alone what changed less than this long ago (default: %(default)s)",
    )


def _add_quarantine(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Files that are kept out of service: damaged ones, and what fsck set aside. list (also "
        "without a word) and show say why, and whether other nodes have good copies. settle reads "
        "a file again and puts it back if its bytes are good after all, else fetches good ones "
        "from another node or the cold tier. Exit code 1: something is not settled."
    )
    parser.add_argument("action", nargs="?", choices=quarantine.ACTIONS, default="list")
    parser.add_argument("ids", nargs="*", metavar="ID", help="an id, as list shows it")
    ways = parser.add_mutually_exclusive_group()
    for way, does in (
        ("restore", "put it back, only if its own bytes are good"),
        ("fetch", "fetch good bytes, whatever these are"),
        ("remove", "let this node's copy go; the file lives on where else it is"),
    ):
        ways.add_argument(f"--{way}", dest="by", action="store_const", const=way, help=does)
    parser.add_argument(
        "--accept-loss",
        action="store_true",
        help="with --remove: although no good copy is known to be anywhere else",
    )
    parser.add_argument("--no-ask", action="store_true", help="don't ask the other nodes")
    parser.add_argument("--json", action="store_true", help="as JSON: of a list one object")


def _add_actions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=["list", "retry", "drop"],
        help="retry and drop without ids: all that were given up",
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="an id, as list shows it")


def _add_cold(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The cold tier: status counts, list has what waits or was given up and why, check asks the "
        "bucket. What was given up is tried again by `portside-agent deliveries retry`."
    )
    parser.add_argument("action", choices=["status", "list", "check"])


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Brings files back from the cold tier. What is there stays; run it again after an "
        "interruption. Deleted files stay deleted. Exit code 1: something was refused, see the log."
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--all", action="store_true", help="every file of the tier")
    which.add_argument("--prefix", help="those whose path begins like this: isos/2026/")
    which.add_argument("--file-id", help="this one")
    parser.add_argument(
        "--digests", action="store_true", help="read what is there and compare its SHA-256"
    )
