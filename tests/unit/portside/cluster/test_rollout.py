"""How many nodes change at once is the operator's to say, within reason."""

from __future__ import annotations

import pytest

from portside.cluster.file import ClusterError, parse
from tests.support.cluster_files import CLUSTER


def test_one_node_after_the_other_unless_somebody_says_otherwise() -> None:
    assert parse(CLUSTER).rollout.batch == 1
    assert parse(f"{CLUSTER}rollout: {{batch: 5}}\n").rollout.batch == 5


@pytest.mark.parametrize("batch", ["0", "101", "all"])
def test_what_is_no_number_of_nodes_is_named(batch: str) -> None:
    with pytest.raises(ClusterError, match=r"rollout\.batch: "):
        parse(f"{CLUSTER}rollout: {{batch: {batch}}}\n")
