"""What the tests' own processes need: short names, and less time for the collector of garbage."""

from __future__ import annotations

import gc

_LONG = 80
"""Characters or bytes of a value that are too many for the name of a test."""

# Nothing of what is imported and collected is garbage, and it is looked through over and over.
gc.disable()

YOUNGEST = 10_000
"""Objects made before the youngest are looked through; Python's own is 700."""


def pytest_collection_finish() -> None:
    """What is imported and collected by now stays to the end: some 200,000 objects.

    Full collections go through all of them: a sixteenth of what the control plane's tests computed.
    """
    gc.collect()
    gc.freeze()
    gc.enable()
    gc.set_threshold(YOUNGEST)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test isn't named by megabytes: each process is told every name, and each server of a test
    has its name in the environment, where more than 128 KiB find no room.
    """
    if isinstance(val, str | bytes) and len(val) > _LONG:
        return f"{argname}-of-{len(val)}"
    return None
