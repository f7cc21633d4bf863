"""A control plane that dies under its load, and whose database is then an older one, or empty.

Two nodes, their control plane and real uploads through it. Whatever the database forgot the nodes
tell: each file that was acknowledged is listed again with its owner and is safe, none that was
deleted comes back, and the counters say what the rows say.
"""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import requests

from control.db.database import Database
from control.db.migrations import migrate
from faults.causing.crashes import StartFailed
from faults.checking.figures import Figures
from tests.support.control.small_cluster import SmallCluster

PATIENCE = 60.0
"""Seconds until everything is known again. Two heartbeats are less than one here."""

_MOST_FILES = 40
_KEPT_BACKUPS = 3
_OWNERS = ("alice", "bob", "carol")
_SCOPES = "upload,read,delete,admin"


class RestoredCluster:
    """The cluster, and what it has promised."""

    def __init__(self, home: Path, random: Random) -> None:
        self.figures = Figures()
        self._home = home
        self._random = random
        self._empty = home / "empty.sqlite"
        url = f"sqlite:///{self._empty}"
        database = Database(url)
        migrate(database)
        database.close()
        shutil.copyfile(self._empty, home / "control.sqlite")
        self._cluster = SmallCluster(home, f"sqlite:///{home / 'control.sqlite'}")
        self._files: dict[str, str] = {}
        """Owners of the files that must be there, by their ids."""
        self._deleted: set[str] = set()
        self._backups: list[tuple[Path, str]] = []
        """With the API key that each knows, the latest last."""
        self._key = ""

    def start(self) -> None:
        """Everything of it."""
        self._cluster.start()
        self._make_app()
        if not self._wait(self._takes_uploads):
            raise StartFailed(f"no node takes uploads:\n{self._cluster.logs()}")

    def end(self) -> None:
        """End every process."""
        self._cluster.end()

    def round(self) -> None:
        """Load, a backup somewhere in it, a crash, an older database, and every check."""
        before = self._random.randint(0, 3)
        for _ in range(before):
            self._upload()
        self._back_up()
        for _ in range(self._random.randint(1, 4)):
            self._upload()
        self._delete_some()
        self._cluster.stop_control()
        self._put_back()
        began = time.monotonic()
        self._cluster.start_control()
        self.figures.crashes += 1
        if not self._key:
            self._make_app()
        self._check()
        self.figures.recovery.append(time.monotonic() - began)

    def _takes_uploads(self) -> bool:
        nodes = self._ask("GET", "/api/v1/nodes").json()["nodes"]
        return bool(nodes) and all(node["healthy"] for node in nodes)

    def _upload(self) -> None:
        owner = self._random.choice(_OWNERS)
        content = self._random.randbytes(self._random.randint(1, 200_000))
        name = f"{self._random.getrandbits(40):x}.bin"
        session = self._ask(
            "POST",
            "/api/v1/upload/sessions",
            json={"owner": owner, "name": name, "size": len(content)},
        ).json()
        sent = requests.put(
            f"{session['upload_api_url']}/{name}",
            data=content,
            headers={"Authorization": f"Bearer {session['token']}"},
            verify=str(self._cluster.ca),
            timeout=60,
        )
        sent.raise_for_status()
        self.figures.acknowledge(len(content))
        self._files[session["file_id"]] = owner

    def _delete_some(self) -> None:
        """Files of before, and wait until a node has: then nobody may bring them back.

        What the database alone knows is lost with it.
        """
        count = max(self._random.randint(0, 1), len(self._files) - _MOST_FILES)
        for file_id in self._random.sample(sorted(self._files), min(count, len(self._files))):
            if not self._becomes(file_id, "safe"):
                self.figures.complain("stuck", f"{file_id} has too few copies")
                continue
            self._ask("DELETE", f"/api/v1/files/{file_id}")
            del self._files[file_id]
            self._deleted.add(file_id)
            self.figures.deleted += 1
            if not self._wait(partial(self._is_buried, file_id)):
                self.figures.complain("undeleted", f"{file_id} is still on every node")

    def _back_up(self) -> None:
        backup = self._home / f"backup-{self._random.getrandbits(40):x}.sqlite"
        source = sqlite3.connect(self._cluster.database)
        source.execute("VACUUM INTO ?", (str(backup),))
        source.close()
        self._backups.append((backup, self._key))
        for old, _ in self._backups[:-_KEPT_BACKUPS]:
            old.unlink()
        del self._backups[:-_KEPT_BACKUPS]

    def _put_back(self) -> None:
        database, self._key = self._random.choice([*self._backups, (self._empty, "")])
        self._cluster.put_database(database)

    def _make_app(self) -> None:
        made = self._cluster.control.run("app", "create", "shop", "--scope", _SCOPES)
        self._key = made.stdout.strip()

    def _check(self) -> None:
        known = self._wait(
            lambda: self._listed() == self._files and self._are_safe() and self._takes_uploads()
        )
        if not known:
            listed = self._listed()
            for file_id, owner in self._files.items():
                if file_id not in listed:
                    self.figures.complain("lost", f"{file_id} is not known again")
                elif listed[file_id] != owner:
                    self.figures.complain("damaged", f"{file_id} is now {listed[file_id]}'s")
            for file_id in listed.keys() - self._files.keys():
                why = "was deleted" if file_id in self._deleted else "was never acknowledged"
                self.figures.complain("twice", f"{file_id} {why} and is listed")
            if listed == self._files:
                self.figures.complain("stuck", "files lack copies")
        checked = self._cluster.control.run("check", "--counters")
        if checked.returncode:
            self.figures.complain("leftover", f"counters: {checked.stderr[:300]}")

    def _listed(self) -> dict[str, str]:
        answer = self._ask("GET", "/api/v1/files", params={"limit": "1000"})
        return {file["file_id"]: file["owner"] for file in answer.json()["files"]}

    def _are_safe(self) -> bool:
        answer = self._ask("GET", "/api/v1/files", params={"limit": "1000"})
        return all(file["state"] == "safe" for file in answer.json()["files"])

    def _becomes(self, file_id: str, state: str) -> bool:
        return self._wait(lambda: self._state_of(file_id) == state)

    def _is_buried(self, file_id: str) -> bool:
        query = "SELECT 1 FROM files WHERE file_id = ? AND state = 'DELETED'"
        return any(node.worker.rows(query, file_id) for node in self._cluster.nodes.values())

    def _state_of(self, file_id: str) -> str:
        answer = self._ask("GET", f"/api/v1/files/{file_id}", expected=(200, 404, 410))
        return str(answer.json()["state"]) if answer.status_code == 200 else "deleted"

    def _ask(
        self, method: str, path: str, expected: tuple[int, ...] = (200, 201, 202, 204), **asked: Any
    ) -> requests.Response:
        answer = requests.request(
            method,
            self._cluster.url + path,
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=60,
            **asked,
        )
        if answer.status_code not in expected:
            raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer

    def _wait(self, condition: Callable[[], bool]) -> bool:
        until = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > until:
                return False
            time.sleep(0.1)
        return True
