"""`python -m fuzz`: send a node and its control plane what no client would, and judge the answers.

Ends with what was sent and what was wrong; exits with 1 when anything was.
"""

from __future__ import annotations

import secrets
import sys
import time
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from fuzz import rounds
from fuzz.place import running
from tests.support.control.postgresql import PostgresqlServer

_DATABASE = "portside"


def main(
    requests: Annotated[int, typer.Option(min=1, help="Requests.")] = 40_000,
    seed: Annotated[str, typer.Option(help="Repeats another run.")] = "",
) -> None:
    """Send odd requests, and check what comes back."""
    seed = seed or secrets.token_hex(4)
    print(f"seed {seed}", flush=True)
    server = PostgresqlServer()
    try:
        server.start()
        server.execute(f"CREATE DATABASE {_DATABASE}")
        with (
            TemporaryDirectory(prefix="portside-") as home,
            running(Path(home), server.dsn(_DATABASE)) as place,
        ):
            begun = time.monotonic()
            stream = rounds.requests_of(place, Random(seed), requests)  # noqa: S311 (no secret)
            faults = rounds.faults_of(place, stream)
            seconds = time.monotonic() - begun
    finally:
        server.remove()
    print(faults)
    print(f"{seconds:.0f} s; statuses: {dict(sorted(faults.statuses.items()))}")
    if faults.kinds:
        sys.exit(1)


if __name__ == "__main__":
    typer.run(main)
