"""What every bench's command does alike."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from bench import command
from bench.command import Bench


@dataclass(frozen=True)
class Figures:
    """One figure."""

    seconds: float


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No results but the test's, and the signal as it was."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(command, "BUILD", tmp_path / "build")
    monkeypatch.setattr(command, "RESULTS", tmp_path / "RESULTS.md")
    yield
    signal.signal(signal.SIGTERM, before)


def bench() -> Bench[Figures]:
    return Bench(
        "any",
        lambda console, figures: console.print(f"{figures.seconds} s"),
        lambda machine, figures: f"It took {figures.seconds} s.",
        (OSError,),
    )


@pytest.mark.parametrize("record", [True, False])
def test_figures_are_shown_and_written_down(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], record: bool
) -> None:
    places: list[Path] = []

    def measure(place: Path, tell: command.Tell) -> Figures:
        places.append(place)
        return Figures(1.5)

    bench().run(measure, tmp_path, record)
    assert places == [tmp_path]
    assert "1.5 s" in capsys.readouterr().out
    written = json.loads((tmp_path / "build" / "any.json").read_text())
    assert written["seconds"] == 1.5
    results = tmp_path / "RESULTS.md"
    assert results.exists() == record
    if record:
        assert "## any\n\nIt took 1.5 s." in results.read_text()


def test_a_failure_is_told_in_a_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(place: Path, tell: command.Tell) -> Figures:
        raise OSError("the disk is [full]")

    with pytest.raises(typer.Exit) as ended:
        bench().run(measure, None, True)
    assert ended.value.exit_code == 1
    assert "bench: the disk is [full]" in capsys.readouterr().out
    assert list((tmp_path / "build").iterdir()) == []
