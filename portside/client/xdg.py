"""Where a user's own files lie (XDG base directory specification)."""

from __future__ import annotations

import os
from pathlib import Path


def folder(variable: str, below_home: str) -> Path | None:
    """What the variable names, else the folder below the user's home; None for who has none.

    A relative one counts for nothing, says the specification.
    """
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named
    try:
        return Path.home() / below_home
    except RuntimeError:
        # In a container a user id may have no home.
        return None
