"""The levels of hardening, as people write them."""

from __future__ import annotations

import pytest

from portside.cluster.file import ClusterError, parse
from tests.support.cluster_files import CLUSTER


@pytest.mark.parametrize(
    ("written", "level"),
    [
        ("", "standard"),
        ("hardening: standard\n", "standard"),
        ("hardening: strict\n", "strict"),
        # To YAML 1.1 this word is a truth value.
        ("hardening: off\n", "off"),
        ("hardening: 'off'\n", "off"),
    ],
)
def test_each_level_is_a_plain_word(written: str, level: str) -> None:
    assert parse(CLUSTER + written).hardening == level


@pytest.mark.parametrize("written", ["on", "yes", "paranoid", "2", "[strict]", ""])
def test_another_word_is_told_with_those_there_are(written: str) -> None:
    with pytest.raises(ClusterError) as refused:
        parse(f"{CLUSTER}hardening: {written}\n")
    (problem,) = refused.value.problems
    assert problem.startswith("hardening: must be one of off, standard, strict")
