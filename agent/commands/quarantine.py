"""`portside-agent quarantine`: what is in quarantine and why, and how each of it is settled."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.cold.meanings import ColdError
from agent.cold.restore import Wanted
from agent.commands import cold
from agent.index.database import Database
from agent.integrity.kept import Entry, described, entries, one
from agent.integrity.settling import Settler, Unsettled
from agent.replication.elsewhere import Answer, Elsewhere
from agent.settings import Settings
from agent.storage.staging import DiskFailed, DiskFull
from portside.quantities import format_size
from portside.tokens import SigningKey
from portside.wire.quarantine import KeptFile, Quarantine, Settlement

Action = Literal["list", "show", "settle"]

ACTIONS: tuple[Action, ...] = ("list", "show", "settle")

MOST_ASKED = 50
"""Files of a list that other nodes are asked after: each takes a moment."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the command line says. Without `by`: put back what is good, fetch what isn't."""

    action: Action
    ids: Sequence[str] = ()
    by: Settlement | None = None
    accept_loss: bool = False
    ask: bool = True
    in_json: bool = False


def run(settings: Settings, key: SigningKey, orders: Orders, say: Callable[[str], None]) -> int:
    """Carry out what is ordered, saying it line by line; the exit code.

    Raises ValueError for an id that nothing in quarantine has, before anything is changed.
    """
    database = Database(settings.index)
    try:
        return _Command(settings, database, key, orders, say).run()
    finally:
        database.close()


class _Command:
    def __init__(
        self,
        settings: Settings,
        database: Database,
        key: SigningKey,
        orders: Orders,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._database = database
        self._key = key
        self._orders = orders
        self._say = say
        self._settler = Settler(settings, database, key)
        self._elsewhere = Elsewhere(settings, key)

    def run(self) -> int:
        ids = self._orders.ids
        if self._orders.action == "list" and not ids:
            self._list(entries(self._settings, self._database))
            return 0
        if not ids:
            raise ValueError(f"say which: portside-agent quarantine {self._orders.action} ID")
        found = [one(self._settings, self._database, each) for each in ids]
        if self._orders.action == "settle":
            return max([self._settle(each) for each in found])
        if self._orders.action == "list":
            self._list(found)
        else:
            for each in found:
                self._show(each)
        return 0

    # -- looking -----------------------------------------------------------------------------------

    def _list(self, found: Sequence[Entry]) -> None:
        if self._orders.ask:
            for entry in found[:MOST_ASKED]:
                self._settler.ask(entry, self._elsewhere)
        files = tuple(self._described(each) for each in found)
        if self._orders.in_json:
            self._say(Quarantine(files=files, total=len(files)).model_dump_json())
            return
        for each in files:
            for line in _lines(each):
                self._say(_printable(line))
        self._say(f"{len(files)} in quarantine" if files else "nothing is in quarantine")

    def _show(self, entry: Entry) -> None:
        answers = self._settler.ask(entry, self._elsewhere) if self._orders.ask else []
        file = self._described(entry)
        if self._orders.in_json:
            nodes = [{"node_id": each.node_id, "said": each.said} for each in answers]
            self._say(json.dumps({**file.model_dump(mode="json"), "nodes": nodes}))
            return
        for line in (*_lines(file), *_facts(file), *_said(answers)):
            self._say(_printable(line))

    def _described(self, entry: Entry) -> KeptFile:
        return described(self._settings, self._database, entry)

    # -- settling ----------------------------------------------------------------------------------

    def _settle(self, entry: Entry) -> int:
        try:
            outcome, done = self._settled(entry)
        except (Unsettled, ColdError, DiskFull, DiskFailed, sqlite3.Error) as error:
            self._tell(entry, None, str(error))
            return 1
        self._tell(entry, outcome, done)
        return 0

    def _settled(self, entry: Entry) -> tuple[str, str]:
        match self._orders.by:
            case "restore":
                return "restored", self._settler.restore(entry)
            case "fetch":
                return "fetched", self._fetched(entry)
            case "remove":
                return "removed", self._removed(entry)
        try:
            return "restored", self._settler.restore(entry)
        except Unsettled as bad:
            try:
                return "fetched", self._fetched(entry)
            except Unsettled as error:
                raise Unsettled(f"{bad}; {error}") from None

    def _fetched(self, entry: Entry) -> str:
        """From another node, else from the cold tier."""
        try:
            return self._settler.fetch(entry, self._elsewhere)
        except Unsettled as error:
            if self._settings.cold is None or entry.attributes is None:
                raise
            file_id = entry.attributes.file_id
            wanted = Wanted(file_id=file_id)
            restored = cold.restore(self._settings, wanted, self._key)
            if not restored.restored:
                raise Unsettled(
                    f"{error}; not from the cold tier: {cold.summary(restored)}"
                ) from None
        if entry.kept_as != "damaged":
            # The file is in service again, under its own name: what fsck set aside isn't needed.
            left = dataclasses.replace(entry, kept_as="left-over")
            self._settler.remove(left, accept_loss=False)
        return "fetched from the cold tier and put back"

    def _removed(self, entry: Entry) -> str:
        if self._orders.ask:
            self._settler.ask(entry, self._elsewhere)
        backed_up = self._described(entry).backed_up
        return self._settler.remove(entry, self._orders.accept_loss, backed_up)

    def _tell(self, entry: Entry, outcome: str | None, detail: str) -> None:
        if self._orders.in_json:
            told = {"kept_id": entry.kept_id, "outcome": outcome, "detail": detail}
            self._say(json.dumps(told))
            return
        self._say(_printable(f"{entry.kept_id}: {'' if outcome else 'NOT SETTLED: '}{detail}"))
        if outcome is None and self._orders.by == "remove" and not self._orders.accept_loss:
            self._say("    with --accept-loss it goes all the same")


def _lines(file: KeptFile) -> Iterator[str]:
    """Each entry in a few lines."""
    size = "no size known" if file.size is None else format_size(file.size)
    since = "" if file.since is None else f"  since {file.since:%Y-%m-%dT%H:%M:%SZ}"
    yield f"{file.kept_id}  {file.kept_as}  {size}{since}  {file.path or 'no path known'}"
    yield f"    why: {file.reason}"
    yield f"    good copies elsewhere: {_copies(file)}"
    if file.ordered is not None:
        yield f"    ordered: {file.ordered}"
    yield f"    what to do: {file.advice}"


def _copies(file: KeptFile) -> str:
    known = [
        f"{each.node_id} (heard {each.confirmed_at:%Y-%m-%dT%H:%M:%SZ})" for each in file.copies
    ]
    if file.backed_up:
        known.append("the cold tier")
    return ", ".join(known) or "none known"


def _facts(file: KeptFile) -> Iterator[str]:
    kept = "none" if file.kept_bytes is None else f"{file.kept_bytes}"
    yield f"    bytes kept: {kept} of {file.size}"
    yield f"    name: {file.name}  owner: {file.owner}  namespace: {file.namespace}"


def _said(answers: Sequence[Answer]) -> Iterator[str]:
    for each in answers:
        yield f"    asked {each.node_id}: {each.said}"


def _printable(text: str) -> str:
    """Without what could give orders to a terminal: fsck sets foreign names aside too."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
