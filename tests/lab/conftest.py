"""Tests on the lab's machines, which are up before they begin: `make test` sees to that.

Those of `cluster/` have c01, s01, s02 and s03; those of `spare/` have s04, a cluster of its own
for them. So both run at the same time.
"""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_operator() -> None:
    os.environ.pop("PORTSIDE_CLUSTER", None)
