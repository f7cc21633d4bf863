"""Tests on the lab's machines, which are up before they begin: `make test` sees to that.

Those of `cluster/` have c01, s01, s02 and s03; those of `spare/` have s04, a cluster of its own
for them. So both run at the same time.
"""

from __future__ import annotations

import hashlib
import os

import pytest

from deploys.layout import PROJECT_ROOT
from tests.support.lab.places import ISO


@pytest.fixture(autouse=True, scope="session")
def no_settings_of_the_operator() -> None:
    os.environ.pop("PORTSIDE_CLUSTER", None)
    # Cluster files of tests lie elsewhere than the lab's secrets.
    os.environ.setdefault("PORTSIDE_SECRETS", str(PROJECT_ROOT / "secrets"))


@pytest.fixture(scope="session")
def iso_sha256() -> str:
    with ISO.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
