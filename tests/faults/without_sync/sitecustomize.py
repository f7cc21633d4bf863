"""Makes a node that lies: fsync and fdatasync return at once. For a test of the crash checks.

Python imports `sitecustomize` at its start from PYTHONPATH (site, in the standard library).
"""

import os
from typing import Any


def _return_at_once(fd: Any) -> None:
    """Promise durability and do nothing for it."""


os.fsync = _return_at_once
os.fdatasync = _return_at_once
