"""Whose clock is wrong: one node's is that node's, most nodes' is ours."""

from __future__ import annotations

import pytest

from control.cluster.own_clock import error


@pytest.mark.parametrize(
    ("skews", "ahead"),
    [
        ([], None),
        ([0.1, -0.2, 59.0], None),
        ([86400.0, 0.1, 0.2], None),
        ([-86400.0, -86400.5, 0.2], 86400.25),
        ([120.0, 120.0], -120.0),
        # Two that are off to different sides aren't both right.
        ([-86400.0, 86400.0], None),
        ([-61.0], 61.0),
    ],
)
def test_most_nodes_together_are_right(skews: list[float], ahead: float | None) -> None:
    assert error(skews) == ahead
