"""Each test begins on no span: one that an app handled in this thread stays until the next."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portside.tracing import current


@pytest.fixture(autouse=True)
def no_span() -> Iterator[None]:
    before = current._current.set(None)
    yield
    current._current.reset(before)
