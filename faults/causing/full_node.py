"""A node on whose disk something else takes every byte, or every inode, while uploads run.

Then a crash strikes, and the node has to start, to keep what it acknowledged and to delete on the
disk that is as full as before. Uploads are refused with 507 and nothing else, until there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from random import Random
from typing import Any

from faults.causing.connection import Connection, NodeGone
from faults.causing.crashes import LONGEST_LOAD
from faults.causing.filesystem import Disk
from faults.causing.hog import Hog, Resource
from faults.causing.portside_node import PortsideNode
from faults.causing.tus import Refused
from faults.causing.workload import Writer
from faults.checking.journal import Attempt
from portside.wire import paths
from tests.support.agent.stored_files import access

_DELETIONS = 6
"""Files deleted on the full disk after each crash; before each everything is taken again."""

_REFUSALS = 3
"""Uploads tried on it."""


class FullNode(PortsideNode):
    """A node beside a hog. Its disk is full from the middle of each load on, into `check`."""

    def __init__(self, resource: Resource, disk: Disk, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._hog = Hog(disk.root, resource)
        self._when = Random(self._random.random())  # noqa: S311 (repeatable)
        self._is_full = False

    def lay_out(self) -> None:
        """See PortsideNode.lay_out."""
        super().lay_out()
        self._is_full = False
        self._hog.move_in()

    def writers(self, count: int) -> list[Writer]:
        """The load; the hog comes in the middle of it."""
        self._is_full = True
        self._hog.run_after(self._when.uniform(0, LONGEST_LOAD / 2))
        return super().writers(count)

    def kill(self) -> None:
        """See PortsideNode.kill. Nobody uses the disk then: it may be unmounted."""
        super().kill()
        self._hog.rest()

    def start(self, under: Sequence[str] = ()) -> float:
        """Start it, on a disk without anything left if a load was there before."""
        if self._is_full:
            # After a power cut the hog's files may be smaller.
            self._hog.take()
        return super().start(under)

    def check(self) -> None:
        """What holds on the full disk, and then with room."""
        process = self.agent.worker_pid()
        self._delete_some()
        self._hog.take()
        for _ in range(_REFUSALS):
            self._must_be_refused()
        self._shelf.check(self._journal, self.figures)
        if self.agent.worker_pid() != process:
            # gunicorn starts another one, and nothing else tells.
            self._complain("down", "the agent's process ended on the full disk")
        self._hog.move_out()
        self._is_full = False
        self._hog.move_in()
        super().check()

    def _delete_some(self) -> None:
        there = self._journal.acknowledged()
        for attempt in self._random.sample(there, min(_DELETIONS, len(there))):
            self._hog.take()
            with Connection(self.agent.port) as connection:
                self._delete(connection, attempt)

    def _delete(self, connection: Connection, attempt: Attempt) -> None:
        file_id = attempt.claims.file_id
        token = access(self.agent, rights=("delete",))
        try:
            answer = connection.ask("DELETE", f"{paths.FILES}/{file_id}", token)
        except NodeGone as gone:
            self._complain("undeleted", f"{file_id}: {gone}")
            return
        if answer.status != HTTPStatus.NO_CONTENT:
            self._complain("undeleted", f"{file_id}: {answer.words}")
            return
        self._journal.forget(attempt)
        self.figures.deleted += 1

    def _must_be_refused(self) -> None:
        attempt = self._new_attempt()
        try:
            # An answer that comes before the body ends its connection.
            with self._client(self._random) as client:
                self._advance(client, attempt)
        except Refused as refused:
            self._refused(attempt, refused, after=False)
        except NodeGone:
            # The body that nobody read may have cost the answer (RFC 9112, section 9.6).
            self._journal.interrupt(attempt)
        # One that is acknowledged found what a deletion has freed since: it has to be there, too.

    def _refused(self, attempt: Attempt, refused: Refused, after: bool) -> None:
        """Only 507 is an answer on a full disk."""
        no_room = self._is_full and refused.status == HTTPStatus.INSUFFICIENT_STORAGE
        super()._refused(attempt, refused, after or no_room)
