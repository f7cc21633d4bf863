"""What every command group shares: which cluster is meant, and how tables are printed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from portside import cluster
from portside.cluster import Cluster
from portside.keystore import Keystore
from portside.quantities import parse_duration, parse_size

ClusterFile = Annotated[
    Path | None,
    typer.Option(
        "--file",
        "--cluster",
        help="The cluster file. Without it: $PORTSIDE_CLUSTER, else cluster.yaml in this folder, "
        "else clusters/lab.yaml.",
        show_default=False,
    ),
]


def size_option(text: str) -> int:
    """Bytes of an option written as 2GiB."""
    return _parsed(parse_size, text)


def duration_option(text: str) -> int:
    """Seconds of an option written as 15m."""
    return _parsed(parse_duration, text)


def _parsed(parse: Callable[[str], int], text: str) -> int:
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def cluster_path(file: Path | None) -> Path:
    """The cluster file that is meant."""
    return file or cluster.find(Path.cwd())


def load_cluster(file: Path | None) -> Cluster:
    """The cluster that is meant. Raises ClusterError."""
    return cluster.load(cluster_path(file))


def keystore_of(loaded: Cluster) -> Keystore:
    """The cluster's secrets, under the project's folder: the current one."""
    return Keystore.for_cluster(loaded, Path.cwd())


def printable(text: str) -> str:
    """Text from elsewhere without control characters: it must not be able to move a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: fitted to a terminal, unwrapped and unadorned anywhere else."""
    if sys.stdout.isatty():
        table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*row)
        Console().print(table, markup=False)
        return
    widths = [max(len(line[column]) for line in (headers, *rows)) for column in range(len(headers))]
    for line in (headers, *rows):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
