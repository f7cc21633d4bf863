"""`portside-control`: what an operator and the units run on a control node."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, redirect_stdout
from datetime import UTC, datetime, timedelta
from pathlib import Path

from control import settings
from control.alerts import command as alerts
from control.alerts.webhook import NotDelivered
from control.catalogue import counters
from control.cluster import api_keys, backup_check, contents, issuer, packing
from control.cluster.api_keys import AppRefused, NewKey, Scope
from control.cluster.backup_check import BackupRefused
from control.cluster.contents import NoDatabase
from control.cluster.issuer import IssuerKeyUnusable
from control.db import migrations
from control.db.database import Database, DatabaseUnavailable
from control.db.migrations import SchemaOutdated
from control.db.models import ApiKey, App
from control.files import vouching
from control.replication import obstacles
from control.settings import Settings, SettingsError
from control.worker import process
from portside import journal
from portside.backup.contents import NO_DATABASE
from portside.quantities import format_duration, parse_duration
from portside.wire.fields import APP_ID_PATTERN, NAMESPACE_PATTERN
from portside.wire.keys import LONGEST_OVERLAP

_APP_ID = re.compile(APP_ID_PATTERN)
_NAMESPACE = re.compile(NAMESPACE_PATTERN)

_USUAL: Sequence[Scope] = ("upload", "read", "delete")
"""The scopes of an app for which none are named."""


def main(arguments_given: Sequence[str] | None = None) -> None:
    """Run a command; a failure is one line on standard error and exit code 1, or NO_DATABASE.

    Without arguments those of the process.
    """
    arguments = _parser().parse_args(arguments_given)
    try:
        found = settings.load(arguments.config)
        if arguments.command == "worker":
            journal.configure()
            process.run(found)
        elif arguments.command == "migrate":
            with _opened(found) as database:
                print(f"schema {migrations.migrate(database)}")
                if arguments.restored:
                    database.write(backup_check.forget_heartbeats)
        elif arguments.command == "check":
            _check(found, arguments.counters)
        elif arguments.command == "alerts":
            _alerts(found, arguments)
        elif arguments.command == "believe":
            _believe(found, arguments.node)
        elif arguments.command == "contents":
            with _opened(found) as database:
                print(contents.read(database).model_dump_json())
        elif arguments.command == "pack":
            # Nothing but the backup goes where it is written to.
            out = sys.stdout.buffer
            with redirect_stdout(sys.stderr), _opened(found) as database:
                packing.pack(found, database, arguments.copy, out)
        elif arguments.command == "examine":
            with closing(Database(arguments.database, connections=2)) as database:
                print(backup_check.examine(database, found))
        else:
            _app(found, arguments)
    except NoDatabase as error:
        print(f"portside-control: {error}", file=sys.stderr)
        sys.exit(NO_DATABASE)
    except (
        SettingsError,
        IssuerKeyUnusable,
        SchemaOutdated,
        AppRefused,
        BackupRefused,
        DatabaseUnavailable,
        NotDelivered,
        OSError,
        ValueError,
    ) as error:
        print(f"portside-control: {error}", file=sys.stderr)
        sys.exit(1)


def _check(found: Settings, count: bool) -> None:
    """Settings and keys; the counters too if wanted, which needs the database."""
    key = issuer.load(found)
    if key is not None and (wrong := issuer.stranger(found, key)):
        raise ValueError(wrong)
    found.database_url()
    if count:
        with _opened(found) as database:
            migrations.check(database)
            wrong_ones = database.read(counters.differences)
        if wrong_ones:
            raise ValueError("; ".join(map(str, wrong_ones)))
    print(f"{found.cluster}: settings and keys are in order")


def _alerts(found: Settings, arguments: argparse.Namespace) -> None:
    """Those that hold; or a test, each way."""
    if arguments.action == "test":
        for line in alerts.test(found, datetime.now(UTC)):
            print(line, flush=True)
        return
    if arguments.action == "keys":
        print(alerts.public_keys(found))
        return
    with _opened(found) as database:
        migrations.check(database)
        if arguments.json:
            print(database.read(lambda session: alerts.as_json(session, found)))
            return
        lines = database.read(lambda session: tuple(alerts.listed(session, found)))
    print("\n".join(lines) or "nothing is wrong")


def _believe(found: Settings, node_id: str | None) -> None:
    """Take a node's word for what it alone has told; without one, say whose word there is."""
    with _opened(found) as database:
        migrations.check(database)
        if node_id is None:
            for each, count in database.read(obstacles.by_one_nodes_word):
                print(f"{each}\t{count} files")
            return
        now = datetime.now(UTC)
        count = database.write(lambda session: vouching.believe(session, found, node_id, now))
    print(f"{count} files of {node_id} are ordinary files from now on")


def _app(found: Settings, arguments: argparse.Namespace) -> None:
    now = datetime.now(UTC)
    name = arguments.name if "name" in arguments else ""
    with _opened(found) as database:
        migrations.check(database)
        if arguments.action == "create":
            _create(database, arguments, now)
        elif arguments.action == "rotate":
            old_for = None if arguments.old_for is None else timedelta(seconds=arguments.old_for)
            made = database.write(lambda session: api_keys.rotate(session, name, now, old_for))
            # The key alone on standard output, as with `create`.
            print(made.key)
            print(f"portside-control: {_of_rotation(name, made)}", file=sys.stderr)
        elif arguments.action == "revoke-key":
            database.write(lambda session: api_keys.end_key(session, name, arguments.key_id, now))
        elif arguments.action == "revoke":
            database.write(lambda session: api_keys.revoke(session, name, now))
        else:
            for app, keys in database.read(api_keys.every):
                for line in _listed(app, keys, now):
                    print("\t".join(line))


def _create(database: Database, arguments: argparse.Namespace, now: datetime) -> None:
    if not _APP_ID.fullmatch(arguments.name):
        raise ValueError(
            f"{arguments.name!r}: an app's name has lower-case letters, digits and '-', at "
            "most 63 of them, and begins with a letter or digit"
        )
    scopes = arguments.scopes or _USUAL
    bound = arguments.namespaces or ()
    # The key alone on standard output, so that it can be taken from there: it is told once.
    print(
        database.write(lambda session: api_keys.create(session, arguments.name, scopes, now, bound))
    )
    print(
        f"portside-control: {arguments.name} may {', '.join(sorted(set(scopes)))} in "
        f"{', '.join(sorted(set(bound))) or 'every namespace'}; its key is shown this once",
        file=sys.stderr,
    )


def _of_rotation(name: str, made: NewKey) -> str:
    if made.old_ends_at is None:
        old = f"the one before counts until `app revoke-key {name}` ends it (`app list` has its id)"
    else:
        old = f"the one before counts until {_moment(made.old_ends_at)}"
    return f"{name} has the key {made.key_id}, shown this once; {old}"


def _listed(app: App, keys: Sequence[ApiKey], now: datetime) -> Iterator[Sequence[str]]:
    """A line for each key that counts; one for an app without."""
    state = "revoked" if app.revoked_at else ",".join(app.scopes)
    of_app = (app.app_id, state, _moment(app.created_at), ",".join(app.namespaces or ["*"]))
    counting = [key for key in keys if key.ends_at is None or key.ends_at > now]
    for key in counting:
        until = "-" if key.ends_at is None else _moment(key.ends_at)
        used = "never" if key.last_used_at is None else _moment(key.last_used_at)
        yield (*of_app, key.key_id, _moment(key.created_at), used, until)
    if not counting:
        yield of_app


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


class _opened:  # noqa: N801 (used like a function)
    """The settings' database, closed behind it."""

    def __init__(self, found: Settings) -> None:
        self._database = Database(found.database_url(), connections=2)

    def __enter__(self) -> Database:
        return self._database

    def __exit__(self, *failed: object) -> None:
        self._database.close()


def _scopes(text: str) -> Sequence[str]:
    scopes = [scope.strip().lower() for scope in re.split(r"[,\s]+", text) if scope.strip()]
    unknown = sorted(set(scopes) - set(api_keys.SCOPES))
    if unknown or not scopes:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown) or 'nothing'}: scopes are {', '.join(api_keys.SCOPES)}"
        )
    return scopes


def _duration(text: str) -> int:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds > LONGEST_OVERLAP:
        raise argparse.ArgumentTypeError(f"{text}: at most {format_duration(LONGEST_OVERLAP)}")
    return seconds


def _namespaces(text: str) -> Sequence[str]:
    namespaces = [each for each in re.split(r"[,\s]+", text) if each]
    for each in namespaces:
        if not _NAMESPACE.fullmatch(each):
            raise argparse.ArgumentTypeError(
                f"{each!r}: a namespace has lower-case letters, digits and '-'"
            )
    if not namespaces:
        raise argparse.ArgumentTypeError("it names no namespace")
    return namespaces


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portside-control", description="The control plane.")
    commands = parser.add_subparsers(dest="command", required=True)
    migrate = commands.add_parser("migrate", help="bring the database's schema to this release's")
    migrate.add_argument(
        "--restored",
        action="store_true",
        help="it was kept from earlier: what nodes said then doesn't count",
    )
    check = commands.add_parser("check", help="check settings and keys")
    check.add_argument(
        "--counters", action="store_true", help="count again what the database counts as it goes"
    )
    examine = commands.add_parser(
        "examine", help="say whether a database that was kept may be restored here"
    )
    examine.add_argument("database", help="its URL, as sqlite:////path or postgresql:///name")
    commands.add_parser("contents", help="what the database has in it, as JSON")
    pack = commands.add_parser(
        "pack", help="write a copy that was made of the database as a backup to standard output"
    )
    pack.add_argument("copy", type=Path, help="the file that portside-control-backup made")
    believe = commands.add_parser(
        "believe", help="take a node's word for files that nothing else bears out"
    )
    believe.add_argument(
        "node", nargs="?", help="one that nobody but you ever had (default: list the nodes)"
    )
    commands.add_parser("worker", help="run the worker in the foreground, as its unit does")
    alerting = commands.add_parser("alerts", help="what is wrong now, and who is told of it")
    alerting.add_argument(
        "action",
        nargs="?",
        choices=("list", "test", "keys"),
        default="list",
        help="list those that hold (the default); send a test to the webhook and the mailbox; "
        "print the public keys that a webhook is signed with",
    )
    alerting.add_argument("--json", action="store_true", help="list them for programs")
    app = commands.add_parser("app", help="who may ask: apps and their API keys")
    for command in commands.choices.values():
        command.add_argument(
            "--config",
            type=Path,
            help="the control.toml to use; the variable PORTSIDE_CONTROL_CONFIG names it too",
        )
    actions = app.add_subparsers(dest="action", required=True)
    create = actions.add_parser("create", help="make an app; prints its API key, this once")
    create.add_argument("name")
    create.add_argument(
        "--scope",
        dest="scopes",
        metavar="SCOPES",
        type=_scopes,
        action="extend",
        help="of upload, read, delete, admin: with commas, or the option several times (default: "
        "all but admin)",
    )
    create.add_argument(
        "--namespace",
        dest="namespaces",
        metavar="NAMESPACES",
        type=_namespaces,
        action="extend",
        help="where it may upload, and whose files it sees: with commas, or the option several "
        "times (default: every one)",
    )
    rotate = actions.add_parser(
        "rotate", help="give an app a second key, for the same; prints it, this once"
    )
    rotate.add_argument("name")
    rotate.add_argument(
        "--old-for",
        metavar="TIME",
        type=_duration,
        help="how long the key before counts yet, as 24h (default: until `revoke-key` ends it)",
    )
    actions.add_parser(
        "list",
        aliases=["ls"],
        help="every app's scopes, age and namespaces, and for each of its keys: id, age, last use "
        "(to the hour) and end",
    )
    ending = actions.add_parser("revoke-key", help="end one of an app's two API keys")
    ending.add_argument("name")
    ending.add_argument("key_id", metavar="KEY-ID", help="as `list` has it")
    actions.add_parser("revoke", help="end an app with its API keys").add_argument("name")
    return parser
