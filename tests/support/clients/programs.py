"""Programs of other languages that send one request each, as an app of theirs would.

`tests/clients/programs/` has them. All take the same arguments: method, URL, `none`, `raw` or
`form`, the body's file, the offset in it, where to save the answer's body, and the headers. All
write the status and the headers of the answer, a line each, as soon as they are there; what isn't
answered ends them with another exit code than 0.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploys.layout import PROJECT_ROOT
from tests.support.clients.promises import Body, LineCut
from tests.support.protocol.requests_by_hand import Answer

PROGRAMS = Path(__file__).parents[2] / "clients" / "programs"

PYTHON = PROJECT_ROOT / "build" / "clients" / "venv" / "bin" / "python"
"""Has the Python clients of requirements/clients.txt."""

_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Program:
    """A client that is a command."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]

    def __call__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        save: Path | None = None,
    ) -> Answer:
        """See `promises.Client`."""
        place = save or self.folder / "answer"
        place.write_bytes(b"")
        kind = "none" if body is None else "form" if body.form else "raw"
        sent = ["-", "0"] if body is None else [str(body.file), str(body.offset)]
        lines = [f"{name}: {value}" for name, value in headers.items()]
        output = self.run(method, url, kind, *sent, str(place), *lines)
        status, *told = output.splitlines()
        pairs = (line.partition(":") for line in told)
        answered = {name.title(): value.strip() for name, _, value in pairs}
        return Answer(int(status), answered, place.read_bytes() if save is None else b"")

    def run(self, *arguments: str) -> str:
        """What the command writes. Raises LineCut."""
        return run([*self.command, *arguments], self.environment)


MakeProgram = Callable[..., Program]


def run(command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> str:
    """What a command writes. Raises LineCut, with what it complains of, if it fails."""
    done = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    if done.returncode:
        raise LineCut(f"{command[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return done.stdout
