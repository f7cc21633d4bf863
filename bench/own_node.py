"""One node of ours behind nginx, for benches that compare it with nobody."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import source
from bench.contenders import Ground
from bench.contenders.portside import Portside, PortsideService
from bench.places import BUILD, NODE
from bench.source import Source
from portside import sizing


@contextmanager
def own_node(place: Path, size: int) -> Iterator[tuple[PortsideService, Source]]:
    """A node that works in a scratch folder under `place`, and a file of `size` bytes for it."""
    with (
        tempfile.TemporaryDirectory(prefix="portside-bench-", dir=place) as scratch,
        # A Unix socket's path is short.
        tempfile.TemporaryDirectory(prefix="portside-bench-") as sockets,
    ):
        file = source.make(Path(scratch) / "source", size)
        directory = Path(scratch) / "node"
        directory.mkdir()
        ground = Ground(directory, Path(sockets) / "agent", BUILD, file, sizing.size(NODE))
        with Portside().serving(ground) as service:
            yield service, file
