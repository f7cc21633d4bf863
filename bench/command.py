"""What every bench's command does alike: its options, its console, and where its figures go.

A bench measures, and says how its figures read on a terminal and in `bench/RESULTS.md`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Generic, TypeVar

import typer
from rich.console import Console

from bench import machine, report
from bench.machine import Machine
from bench.places import BUILD, RESULTS

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Figures = TypeVar("Figures", bound="DataclassInstance")
"""Everything that a bench has measured."""

Tell = Callable[[str], None]
"""Takes a line of progress."""

Size = Annotated[str, typer.Option(help="The file's size.")]
Rounds = Annotated[int, typer.Option(min=1, help="Counted rounds, after a warm-up.")]
Directory = Annotated[Path | None, typer.Option("--dir", help="A folder on the disk to measure.")]
Record = Annotated[bool, typer.Option(help="Write the section of bench/RESULTS.md.")]


@dataclass(frozen=True, slots=True)
class Bench(Generic[Figures]):
    """One bench: `build/bench/<name>.json` and the section `name` of the results are its own.

    `failures` end it with a line instead of a trace. `width` is the table's, in characters, where
    there is no terminal.
    """

    name: str
    show: Callable[[Console, Figures], None]
    markdown: Callable[[Machine, Figures], str]
    failures: tuple[type[Exception], ...]
    width: int = 120

    def run(
        self, measure: Callable[[Path, Tell], Figures], directory: Path | None, record: bool
    ) -> None:
        """Measure on the disk of `directory`, show the figures and write them down.

        Raises typer.Exit.
        """
        console = begin(self.width)
        place = directory or BUILD
        place.mkdir(parents=True, exist_ok=True)
        described = machine.describe(place)
        with failures_told(console, self.failures), console.status("preparing") as status:
            figures = measure(place, status.update)
        self.show(console, figures)
        report.write_figures(BUILD / f"{self.name}.json", described, figures)
        if record:
            report.write_section(RESULTS, self.name, self.markdown(described, figures))


def begin(width: int = 120) -> Console:
    """The console of a bench that can begin now: its folder is there."""
    # An end from outside must end the servers too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    BUILD.mkdir(parents=True, exist_ok=True)
    # In a log file the table needs its full width.
    return Console() if sys.stdout.isatty() else Console(width=width)


@contextmanager
def failures_told(console: Console, failures: tuple[type[Exception], ...]) -> Iterator[None]:
    """End the command with what a failure says. Raises typer.Exit."""
    try:
        yield
    except failures as error:
        console.print(f"bench: {error}", style="red", markup=False)
        raise typer.Exit(1) from None
