"""`python -m tests.side_by_side NAME COMMAND ...`: several commands at once, each with its name.

Each line of a command's output is told when it is whole, behind the command's name. At the end
comes what each said last: a line of what went well, then the last lines of what failed. It fails
when one fails; the others are let go on, for they may have more to tell. Ctrl-C, and an end from
outside, end them all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

_LAST_WORDS = (90.0, 10.0)
"""Seconds to tidy up in after SIGINT, as after Ctrl-C, and after SIGTERM; then comes SIGKILL."""

_LINES_OF_A_FAILURE = 15
"""As many as pytest needs to name the tests that failed; the whole is further up."""


class Command:
    """A shell command that runs in a session of its own."""

    def __init__(self, name: str, command: str, width: int) -> None:
        self.name = name
        self.last: deque[str] = deque(maxlen=_LINES_OF_A_FAILURE)
        self.seconds = 0.0
        self._prefix = f"{name:{width}} | "
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        self._thread = threading.Thread(target=self._tell, daemon=True)
        self._thread.start()

    def _tell(self) -> None:
        assert self._process.stdout is not None
        for received in self._process.stdout:
            line = received.decode(errors="replace").rstrip()
            if line:
                self.last.append(line)
            # One write for each line: none is torn by another's.
            sys.stdout.write(f"{self._prefix}{line}\n")
            sys.stdout.flush()
        self.seconds = time.monotonic() - self._begun

    def wait(self) -> int:
        """Its exit code, once it has ended and everything is told."""
        code = self._process.wait()
        self._thread.join()
        return code

    def end(self) -> None:
        """End it and everything it started, politely at first."""
        for number, seconds in zip((signal.SIGINT, signal.SIGTERM), _LAST_WORDS, strict=True):
            self._signal(number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                break
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


class _Interruption:
    """Raises KeyboardInterrupt on SIGINT and SIGTERM, also where whoever started this ignores them.

    Until it is let go it waits: a command that is just being started would be forgotten.
    """

    def __init__(self) -> None:
        self._held, self._came = True, False

    def __call__(self, number: int, frame: object) -> None:
        self._came = True
        if not self._held:
            raise KeyboardInterrupt

    def let_go(self) -> None:
        """From now on at once. Raises KeyboardInterrupt when it came before."""
        self._held = False
        if self._came:
            raise KeyboardInterrupt


@contextmanager
def _interruptions() -> Iterator[_Interruption]:
    interruption = _Interruption()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, interruption) for number in numbers}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(commands: Sequence[tuple[str, str]]) -> bool:
    """Run them all; whether all succeeded."""
    width = max(len(name) for name, _ in commands)
    with _interruptions() as interruption:
        started = [Command(name, command, width) for name, command in commands]
        try:
            interruption.let_go()
            codes = [each.wait() for each in started]
        except KeyboardInterrupt:
            threads = [threading.Thread(target=each.end) for each in started]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return False
    # What failed comes last, where it is looked for.
    for each, code in sorted(zip(started, codes, strict=True), key=lambda ended: ended[1] != 0):
        word, lines = ("ok", 1) if code == 0 else (f"failed ({code})", _LINES_OF_A_FAILURE)
        print(f"{each.name}: {word}, {each.seconds:.0f} s")
        print(*list(each.last)[-lines:], sep="\n", flush=True)
    return not any(codes)


def main() -> None:
    names, commands = sys.argv[1::2], sys.argv[2::2]
    if not names or len(names) != len(commands):
        sys.exit(__doc__)
    sys.exit(0 if run(list(zip(names, commands, strict=True))) else 1)


if __name__ == "__main__":
    main()
