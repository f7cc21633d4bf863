"""A node whose files end, are brought back, held, released and deleted while it is crashed.

Agent and worker: the one takes the requests, the other moves what has ended out of the way. Beside
uploads each client changes files that are stored. What a crash cuts may have happened or not; the
check asks once, and from then on it has to stay so.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any, Literal

from agent.settings import load
from agent.storage.quarantine import ended as ended_place
from faults.causing.attempts import Attempts
from faults.causing.client import Client
from faults.causing.connection import Answer, Connection, NodeGone
from faults.causing.crashes import StartFailed
from faults.causing.portside_node import PortsideNode
from faults.checking.fates import Fate, Seen, Served, broken
from faults.checking.journal import Attempt
from portside.wire import paths
from tests.support.agent.stored_files import access
from tests.support.agent.worker_process import Worker

Act = Literal["hold", "release", "end", "end soon", "bring back", "delete"]
_ACTS: dict[Act, int] = {
    "hold": 4,
    "release": 4,
    "end": 4,
    "end soon": 2,
    "bring back": 5,
    "delete": 2,
}
"""How often each is chosen, relative to the others."""

_CHANGES = 0.6
"""The share of a client's requests that change a file instead of bringing one."""

_MOVED_WITHIN = 60.0
"""Seconds within which what has ended is out of nginx's reach: 5, and more on a busy computer."""

_RIGHTS = ("list", "read", "delete", "hold")


@dataclass
class _Kept:
    """A stored file and what became of it. One thread at a time changes it."""

    attempt: Attempt
    fate: Fate
    busy: bool = False

    @property
    def file_id(self) -> str:
        return self.attempt.claims.file_id


class EndingNode(PortsideNode):
    """See PortsideNode."""

    name = "portside, ends"

    def lay_out(self) -> None:
        """See PortsideNode.lay_out."""
        super().lay_out()
        self._attempts = Attempts(self._contents, self._random, _more_claims)
        self._worker = Worker(self.agent)
        self._settings = load(self.agent.home / "agent.toml")
        self._kept: dict[str, _Kept] = {}
        self._choosing = threading.Lock()
        self._reported: set[str] = set()

    def start(self, under: Sequence[str] = ()) -> float:
        """See PortsideNode.start."""
        seconds = super().start(under)
        try:
            self._worker.start()
        except AssertionError as error:
            raise StartFailed(f"the worker doesn't start: {error}") from None
        return seconds

    def freeze(self) -> None:
        """See PortsideNode.freeze."""
        super().freeze()
        os.kill(self._worker.process.pid, signal.SIGSTOP)

    def kill(self) -> None:
        """See PortsideNode.kill."""
        super().kill()
        if self._lives:
            self._worker.kill()

    def _turn(self, client: Client, random: Random, stop: threading.Event) -> None:
        kept = self._choose(random) if random.random() < _CHANGES else None
        if kept is None:
            super()._turn(client, random, stop)
            return
        with Connection(self.agent.port) as connection:
            self._change(connection, kept, _act(random), stop)

    def _advance(self, client: Client, attempt: Attempt) -> None:
        super()._advance(client, attempt)
        assert attempt.stored is not None  # noqa: S101 (it was acknowledged)
        fate = Fate(held=attempt.stored.held, ends_at=attempt.stored.expires_at)
        with self._choosing:
            self._kept[attempt.claims.file_id] = _Kept(attempt, fate)

    def _choose(self, random: Random) -> _Kept | None:
        with self._choosing:
            free = [
                each for each in self._kept.values() if not each.busy and each.fate.deleted is False
            ]
            if not free:
                return None
            chosen = random.choice(free)
            chosen.busy = True
            return chosen

    def _change(self, connection: Connection, kept: _Kept, act: Act, stop: threading.Event) -> None:
        """Do something to a file, and write down what was acknowledged."""
        moment = int(time.time()) + 2
        before = _forget(kept, act, moment)
        try:
            answer = self._ask(connection, kept.file_id, act, moment)
            if answer.status in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
                self._note(kept, act, moment)
            elif not stop.is_set():
                kept.fate = before
                self._complain("refused", f"{act} {kept.file_id}: {answer.words}")
        except NodeGone:
            stop.wait(0.01)
        finally:
            # Last of all: the next one's answer is the later word.
            kept.busy = False

    def _note(self, kept: _Kept, act: Act, moment: int) -> None:
        fate = kept.fate
        if act in ("hold", "release"):
            fate.held = act == "hold"
        elif act == "delete":
            fate.deleted = True
        else:
            ends = {"end": 0.0, "end soon": float(moment), "bring back": None}
            fate.ends_at, fate.end_is_known = ends[act], True
            kept.attempt.apart = act != "bring back"
        with self._counting:
            self.figures.deleted += act == "delete"
            self.figures.changed += 1

    def _ask(self, connection: Connection, file_id: str, act: Act, moment: int) -> Answer:
        token = access(self.agent, rights=_RIGHTS)
        target = f"{paths.FILES}/{file_id}"
        if act in ("hold", "release"):
            return connection.ask("POST", f"{target}/{act}", token)
        if act == "delete":
            return connection.ask("DELETE", target, token)
        sent: dict[Act, Mapping[str, Any]] = {
            "end": {"expires_in": 0},
            "end soon": {"expires_at": moment},
            "bring back": {"expires_at": None},
        }
        headers = {**token, "Content-Type": "application/json"}
        return connection.ask("PATCH", target, headers, json.dumps(sent[act]).encode())

    def check(self) -> None:
        """See PortsideNode.check. What nobody could say is asked, and has to stay so."""
        self._check_fates()
        super().check()

    def settle(self) -> None:
        """See PortsideNode.settle."""
        super().settle()
        self._wait_until_moved()
        self._check_fates(whole=True)

    def _check_fates(self, whole: bool = False) -> None:
        with Connection(self.agent.port) as connection:
            for kept in self._kept.values():
                kept.fate.learn(self._answer(connection, kept.file_id), time.time())
                # What has ended by now the next answer has to say.
                now = time.time()
                seen = Seen(
                    self._answer(connection, kept.file_id),
                    self._is_readable(kept),
                    self._is_kept(kept, whole),
                )
                if found := broken(kept.fate, seen, now):
                    self._report(kept, *found)
                kept.attempt.apart = (
                    kept.fate.deleted is not False or kept.fate.ended(now) is not False
                ) or kept.fate.ends_at is not None

    def _report(self, kept: _Kept, promise: str, words: str) -> None:
        if kept.file_id not in self._reported:
            self._reported.add(kept.file_id)
            self._complain(promise, f"{kept.file_id}: {words}")

    def _answer(self, connection: Connection, file_id: str) -> Served:
        token = access(self.agent, rights=("read",))
        answer = connection.ask("GET", f"{paths.FILES}/{file_id}/content", token)
        if answer.status == HTTPStatus.OK:
            return "served"
        said = answer.body.decode("utf-8", "replace")
        told: dict[str, Served] = {
            "being-checked": "held",
            "file-expired": "expired",
            "file-deleted": "deleted",
        }
        return next((meant for slug, meant in told.items() if slug in said), "unknown")

    def _place(self, kept: _Kept) -> Path:
        assert kept.attempt.stored is not None  # noqa: S101 (it was acknowledged)
        return self._root / "uploads" / kept.attempt.stored.path

    def _is_readable(self, kept: _Kept) -> bool:
        try:
            return bool(self._place(kept).stat().st_mode & 0o044)
        except FileNotFoundError:
            return False

    def _is_kept(self, kept: _Kept, whole: bool) -> bool:
        content = kept.attempt.content
        for place in (ended_place(self._settings, kept.file_id).data, self._place(kept)):
            if place.exists() and place.stat().st_size == content.size:
                with place.open("rb") as file:
                    return not whole or (
                        hashlib.file_digest(file, "sha256").hexdigest() == content.sha256
                    )
        return False

    def _wait_until_moved(self) -> None:
        """What has ended is out of nginx's reach within seconds."""
        until = time.monotonic() + _MOVED_WITHIN
        while left := [each for each in self._kept.values() if self._is_late(each)]:
            if time.monotonic() > until:
                for kept in left:
                    self._report(kept, "returned", "ended, and still in its place")
                return
            time.sleep(0.05)

    def _is_late(self, kept: _Kept) -> bool:
        ended = kept.fate.ended(time.time())
        return kept.fate.deleted is False and ended is True and self._place(kept).exists()


def _more_claims(random: Random) -> dict[str, Any]:
    return {
        **({"hold": True} if random.random() < 0.2 else {}),
        **({"expires_in": 86400} if random.random() < 0.2 else {}),
    }


def _act(random: Random) -> Act:
    (act,) = random.choices(list(_ACTS), list(_ACTS.values()))
    return act


def _forget(kept: _Kept, act: Act, moment: int) -> Fate:
    """From here on nobody can say, until it is acknowledged. Returns what was so before."""
    fate = kept.fate
    before = replace(fate)
    if act in ("hold", "release"):
        fate.held = fate.held if fate.held == (act == "hold") else None
    elif act == "delete":
        fate.deleted, kept.attempt.apart = None, True
    else:
        ends = [fate.ends_at or 0.0, fate.may_end_at, float(moment) if act == "end soon" else 0.0]
        fate.may_end_at, fate.end_is_known, kept.attempt.apart = max(ends), False, True
    return before
