"""The peers of the power cuts, each as it comes: the Node tus server and SeaweedFS.

What counts as acknowledged is what their protocols say: for tus the 204 that tells the full
offset, for SeaweedFS's filer the 201 to a PUT. Files, writers and cuts are those of our own node.
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus
from pathlib import Path
from random import Random

from bench import packages
from bench.contenders import seaweedfs
from bench.contenders.tus import Tus
from bench.processes import accepts, reserved_port
from faults.causing import tus
from faults.causing.connection import Connection, NodeGone
from faults.causing.peer import Peer, Sent
from faults.causing.tus import Refused
from faults.checking.content import Content, Contents
from portside.quantities import KIB, MIB

_UPLOADS = "/files"


class TusNode(Peer):
    """@tus/server over @tus/file-store, as its documentation sets it up."""

    name = "tus-node"
    setup = "@tus/file-store as documented; it has no setting that syncs"

    def __init__(
        self, home: Path, root: Path, contents: Contents, random: Random, cache: Path
    ) -> None:
        super().__init__(home, root, contents, random, cache)
        self._program = packages.tus(cache) / "tus_server.mjs"
        self._socket = self.home / "socket"
        self._files = root / "files"

    def version(self) -> str:
        """@tus/server's, as locked."""
        return Tus().version(self.cache)

    def lay_out(self) -> None:
        """Its folder."""
        super().lay_out()
        self._files.mkdir()

    def command(self) -> list[str]:
        """Node over a Unix socket."""
        self._socket.unlink(missing_ok=True)
        return ["node", str(self._program), str(self._socket), str(self._files)]

    def ready(self) -> bool:
        """It listens."""
        return accepts(self._socket)()

    def connection(self) -> Connection:
        """To its socket."""
        return Connection(self._socket)

    def send(self, connection: Connection, content: Content) -> None:
        """POST, then PATCHes in pieces."""
        answer = tus.create(connection, _UPLOADS, content.size)
        sent = self.begin(tus.target_in(answer), content)
        self._go_on(connection, sent, 0)

    def compare(self, connection: Connection, sent: Sent) -> None:
        """Offsets and files; an upload that was cut is taken to its end and compared as well."""
        self.figures.told += sent.told > 0 and not sent.acknowledged
        try:
            offset = tus.offset_of(connection, sent.target)
        except (Refused, NodeGone) as error:
            self.report(sent, "lost" if sent.acknowledged else "forgotten", str(error))
            return
        if sent.acknowledged:
            if offset < sent.content.size:
                self.report(sent, "lost", f"{offset} bytes are there")
            elif not self._is_whole(sent):
                self.report(sent, "damaged", "other bytes than were sent")
        elif offset < sent.told:
            self.report(sent, "forgotten", f"{sent.told} were told of, now {offset}")
        else:
            self._resume(connection, sent, offset)

    def _resume(self, connection: Connection, sent: Sent, offset: int) -> None:
        was_complete = offset == sent.content.size
        try:
            self._go_on(connection, sent, offset)
        except (Refused, NodeGone) as error:
            self.report(sent, "stuck", str(error))
            return
        if self._is_whole(sent):
            self.figures.resumed += 1
        else:
            promise = "partial" if was_complete else "damaged"
            self.report(sent, promise, "other bytes than were sent")

    def _go_on(self, connection: Connection, sent: Sent, offset: int) -> None:
        while offset < sent.content.size:
            end = min(offset + self.random.randrange(16 * KIB, 8 * MIB), sent.content.size)
            data = sent.content.part(offset, end).data
            offset = tus.offset_in(tus.append(connection, sent.target, offset, data))
            sent.told = offset
        self.acknowledged(sent)

    def _is_whole(self, sent: Sent) -> bool:
        data = (self._files / Path(sent.target).name).read_bytes()
        return hashlib.sha256(data).hexdigest() == sent.content.sha256


class SeaweedFS(Peer):
    """Master, volume server and filer in one process. `fsync`: ask for it with every PUT."""

    name = "seaweedfs"

    def __init__(
        self,
        home: Path,
        root: Path,
        contents: Contents,
        random: Random,
        cache: Path,
        fsync: bool = False,
    ) -> None:
        self.name = "seaweedfs-fsync" if fsync else "seaweedfs"
        self.setup = "`weed server -filer`, all defaults" + (", PUT with ?fsync=true" * fsync)
        super().__init__(home, root, contents, random, cache)
        self._query = "?fsync=true" if fsync else ""
        self._program = packages.seaweedfs(cache)
        self._number = 0

    def version(self) -> str:
        """weed's."""
        return seaweedfs.SeaweedFS().version(self.cache)

    def lay_out(self) -> None:
        """Other ports, so that nothing of the last one is taken for this one."""
        super().lay_out()
        self._ports = seaweedfs.Ports(*(reserved_port() for _ in range(6)))

    def command(self) -> list[str]:
        """`weed server`, everything it keeps on the disk."""
        socket = self.home / "socket"
        socket.unlink(missing_ok=True)
        return [str(self._program), *seaweedfs.arguments(self._ports, self.root, socket)]

    def ready(self) -> bool:
        """It takes a file: its ports are open long before."""
        return seaweedfs.takes_files(self._ports.filer)

    def connection(self) -> Connection:
        """To the filer."""
        return Connection(self._ports.filer)

    def send(self, connection: Connection, content: Content) -> None:
        """One PUT."""
        with self.lock:
            self._number += 1
            target = f"/load/{self._number}.bin"
        sent = self.begin(target, content)
        headers = {"Content-Type": "application/octet-stream"}
        answer = connection.ask("PUT", target + self._query, headers, content.data)
        if answer.status != HTTPStatus.CREATED:
            raise Refused(f"PUT {target}", answer)
        self.acknowledged(sent)

    def compare(self, connection: Connection, sent: Sent) -> None:
        """Its volumes are its own format: get the file back."""
        try:
            answer = connection.ask("GET", sent.target)
        except NodeGone as error:
            # It cuts the connection when it finds in the middle that bytes are missing.
            self.report(sent, "damaged" if sent.acknowledged else "partial", str(error))
            return
        if answer.status == HTTPStatus.OK:
            if hashlib.sha256(answer.body).hexdigest() != sent.content.sha256:
                words = f"{len(answer.body)} bytes, not what was sent"
                self.report(sent, "damaged" if sent.acknowledged else "partial", words)
        elif sent.acknowledged:
            self.report(sent, "lost", f"GET says {answer.status}")
        elif answer.status != HTTPStatus.NOT_FOUND:
            self.report(sent, "partial", f"GET says {answer.status}")
