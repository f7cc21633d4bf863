"""How a verb speaks: lines for people, or one JSON object for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from portside.commands import common
from portside.commands.common import printable


class Tell:
    """With `as_json`, lines go to stderr and the result alone to stdout; else the other way: lines
    to stdout and no object."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json

    def line(self, text: str = "") -> None:
        """A line for people, safe for a terminal whatever is in it."""
        print(printable(text), file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def warn(self, text: str) -> None:
        """A line that a person must not miss, beside whatever reads the others."""
        print(printable(text), file=sys.stderr, flush=True)

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Lines in columns, for people."""
        if not self.as_json:
            common.print_table(headers, [tuple(map(printable, row)) for row in rows])

    def result(self, value: Any) -> None:
        """What a program reads: something that JSON can write."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False), flush=True)
