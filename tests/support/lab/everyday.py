"""An app's everyday while its cluster is changed: files are uploaded by sessions and read back by
their lasting URLs, all the while, and a ledger has what was acknowledged and what couldn't be had.

A file that a node has acknowledged is owed. One that is refused, or cut, isn't: an app tries again.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import random
import secrets
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests
from testinfra.host import Host

from portside.client.control import Control
from portside.client.http.errors import ControlError, UploadError
from portside.client.upload.placed import BySession
from portside.client.watcher import Watcher
from portside.quantities import KIB, MIB
from portside.wire.control import FileView, SessionRequest
from tests.support.lab.control_plane import wait_for

NAMESPACE = "everyday"

_EVERY = 0.7
"""Seconds from one upload to the next of its kind."""

_LARGE_EVERY = 25
"""Each so many small ones a large one comes."""

_READERS = 2
_PAUSE = 0.3
_TRIED_AGAIN = 0.5
_PATIENCE = 10.0
"""Seconds that a reader waits for an answer: longer is as good as none."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A file that was acknowledged."""

    file_id: str
    path: str
    size: int
    sha256: str
    url: str
    """The one that lasts."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a file couldn't be had by its lasting URL, or by no node's own either."""

    season: str
    file_id: str
    lasting: float
    """Seconds without an answer at the lasting URL."""
    anywhere: float
    """Seconds of these in which no node served it."""
    why: str


@dataclass
class Everyday:
    """What came of it. Changed by all of its threads, under its lock."""

    season: str = ""
    owed: dict[str, Owed] = field(default_factory=dict)
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """Season, kind and reason of each upload that was not acknowledged."""
    gaps: list[Gap] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Files that came otherwise than they were sent."""
    broken: list[BaseException] = field(default_factory=list)
    """What ended a thread of this client: a fault of the test's own."""
    stored: Counter[str] = field(default_factory=Counter)
    read: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def owes(self, file: Owed) -> None:
        """From now on this file has to be there."""
        with self.lock:
            self.owed[file.file_id] = file

    def snapshot(self) -> list[Owed]:
        """What is owed by now."""
        with self.lock:
            return list(self.owed.values())

    def longest(self, season: str, of: Callable[[Gap], float]) -> float:
        """Seconds of the longest gap of a season; 0 where there was none."""
        return max((of(gap) for gap in self.gaps if gap.season == season), default=0.0)

    def __str__(self) -> str:
        lines = [f"{len(self.owed)} acknowledged, {sum(self.read.values())} read back"]
        for season in self.read:
            gaps = [gap for gap in self.gaps if gap.season == season]
            worst = max(gaps, key=lambda gap: gap.lasting, default=None)
            refused = sum(each[0] == season for each in self.refused)
            said = f"  {season}: {self.stored[season]} stored, {refused} refused, "
            said += f"{self.read[season]} read"
            if worst is not None:
                dark = self.longest(season, lambda gap: gap.anywhere)
                said += f"; not at the lasting URL for at most {worst.lasting:.1f} s"
                said += f" (at no node for {dark:.1f} s): {worst.why}"
            lines.append(said)
        return "\n".join(lines)


@dataclass(frozen=True)
class Cluster:
    """What an app knows of it."""

    url: str
    key: str
    authority: Path
    nodes: Callable[[], list[str]]
    """Hosts of its storage nodes as they are now."""


@contextmanager
def everyday(cluster: Cluster) -> Iterator[Everyday]:
    """An app at work until the block ends. Raises AssertionError for a file that came wrong."""
    day, over = Everyday(), threading.Event()

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            day.broken.append(error)

    with tempfile.TemporaryDirectory(prefix="everyday-") as folder:
        works: list[Callable[[], None]] = [
            *(
                lambda kind=kind: _upload(cluster, day, over, Path(folder), kind)
                for kind in ("put", "tus")
            ),
            *[lambda: _read(cluster, day, over)] * _READERS,
        ]
        threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
        for each in threads:
            each.start()
        try:
            yield day
        finally:
            over.set()
            for each in threads:
                each.join()
    assert day.broken == []
    assert day.wrong == []


# -- uploads -----------------------------------------------------------------------------------


def _upload(
    cluster: Cluster, day: Everyday, over: threading.Event, folder: Path, kind: str
) -> None:
    control = Control(cluster.url, cluster.key, cluster.authority)
    for number in itertools.count(1):
        begun = time.monotonic()
        season = day.season
        size = 24 * MIB if number % _LARGE_EVERY == 0 else random.randint(1, 200 * KIB)  # noqa: S311
        path = folder / f"{kind}-{secrets.token_hex(6)}.bin"
        path.write_bytes(os.urandom(size))
        try:
            file = _sent(control, cluster, path, size, kind)
        except (ControlError, UploadError) as error:
            with day.lock:
                day.refused.append((season, kind, f"{type(error).__name__}: {error}"))
        else:
            day.owes(file)
            with day.lock:
                day.stored[season] += 1
        path.unlink()
        if over.wait(max(0.0, _EVERY - (time.monotonic() - begun))):
            break
    control.close()


def _sent(control: Control, cluster: Cluster, path: Path, size: int, kind: str) -> Owed:
    wish = SessionRequest(owner=f"user-{kind}", namespace=NAMESPACE, name=path.name, size=size)
    stored = BySession(
        control,
        path,
        lambda: wish,
        identity=(kind,),
        ca=cluster.authority,
        in_pieces=kind == "tus",
        resume=False,
        watcher=Watcher(),
    ).put()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Owed(stored.file_id, str(stored.path), size, digest, stored.url)


# -- downloads ---------------------------------------------------------------------------------


def _read(cluster: Cluster, day: Everyday, over: threading.Event) -> None:
    while not over.wait(_PAUSE):
        if files := day.snapshot():
            _read_one(cluster, day, over, random.choice(files))  # noqa: S311


def _read_one(cluster: Cluster, day: Everyday, over: threading.Event, file: Owed) -> None:
    """Until it is had by its lasting URL; how long it wasn't is a gap."""
    season, begun = day.season, time.monotonic()
    why, anywhere, dark_since = "", 0.0, None
    while (failed := _fetched(cluster, day, file, file.url)) is not None:
        why = why or failed
        # The same URL at a node: `/f/` is answered by each of them.
        tail = file.url.split("/", 3)[3]
        tried = time.monotonic()
        if all(_fetched(cluster, day, file, f"https://{h}/{tail}") for h in cluster.nodes()):
            dark_since = tried if dark_since is None else dark_since
        elif dark_since is not None:
            anywhere, dark_since = max(anywhere, time.monotonic() - dark_since), None
        if over.wait(_TRIED_AGAIN):
            break
    ended = time.monotonic()
    if dark_since is not None:
        anywhere = max(anywhere, ended - dark_since)
    with day.lock:
        day.read[season] += 1
        if why:
            day.gaps.append(Gap(season, file.file_id, ended - begun, anywhere, why))


def _fetched(cluster: Cluster, day: Everyday, file: Owed, url: str) -> str | None:
    """Why the file isn't had there; None if it is, and as it was sent."""
    try:
        with requests.get(
            url, verify=str(cluster.authority), timeout=_PATIENCE, stream=True
        ) as answer:
            where = answer.url.split("/", 3)[2]
            if answer.status_code != 200:
                return f"{answer.status_code} at {where}"
            digest, size = hashlib.sha256(), 0
            for block in answer.iter_content(MIB):
                digest.update(block)
                size += len(block)
    except requests.RequestException as error:
        return f"{type(error).__name__} at {url.split('/', 3)[2]}"
    if size != file.size:
        return f"cut off after {size} of {file.size} bytes"
    if digest.hexdigest() != file.sha256:
        day.wrong.append(f"{file.file_id} from {where}")
    return None


# -- the reckoning -----------------------------------------------------------------------------


def all_is_there(
    cluster: Cluster,
    files: list[Owed],
    machines: Mapping[str, Host],
    copies: int,
    root: str = "/srv/portside",
    seconds: float = 240,
) -> None:
    """Each file is on as many disks, as it was sent, and the control plane calls it safe.

    Asked of the disks themselves as well as of the control plane. Raises AssertionError with what
    still lacks after that many seconds.
    """
    wanted, lacks = {each.file_id: each for each in files}, ["nothing was looked at"]

    def look() -> bool | None:
        told = {
            each.file_id: (each.sha256, each.state)
            for namespace in sorted({each.path.partition("/")[0] for each in files})
            for each in listed(cluster, namespace)
        }
        lacks[:] = [
            f"{each.path}: the control plane says {told.get(file_id)}"
            for file_id, each in wanted.items()
            if told.get(file_id) != (each.sha256, "safe")
        ]
        return True if not lacks else None

    try:
        wait_for("every file is safe", seconds, look)
    except AssertionError as error:
        raise AssertionError(f"{error}: {len(lacks)} lack, {lacks[:5]}") from None
    on_disk: dict[str, list[tuple[str, str]]] = {}
    for node_id, host in machines.items():
        said = host.check_output(
            f"cd {root}/uploads && find . -type f ! -name '*.attr.json' -print0 | "
            "xargs -0 --no-run-if-empty sha256sum"
        )
        for line in said.splitlines():
            digest, _, path = line.partition("  ./")
            on_disk.setdefault(path, []).append((node_id, digest))
    for each in wanted.values():
        found = on_disk.get(each.path, [])
        assert {digest for _, digest in found} == {each.sha256}, (each, found)
        assert len(found) >= copies, (each, found)


def owed(view: FileView) -> Owed:
    """A file that is stored, as one that has to be there from now on."""
    assert view.size is not None and view.sha256 is not None and view.url is not None, view
    return Owed(view.file_id, str(view.path), view.size, view.sha256, view.url)


def listed(cluster: Cluster, namespace: str) -> Iterator[FileView]:
    """Every file of a namespace, as the control plane lists it to the app."""
    control = Control(cluster.url, cluster.key, cluster.authority)
    query = {"limit": "1000", "namespace": namespace}
    try:
        while True:
            page = control.files(query)
            yield from page.files
            if page.next is None:
                return
            query["cursor"] = page.next
    finally:
        control.close()
