"""What the tests' own processes need: less of their time for the collector of garbage."""

from __future__ import annotations

import gc

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
