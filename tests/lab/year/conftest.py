"""Machines of lab/year.json, an operator's folder, an app at work. Brought up by `make year`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from portside.cluster.file import load
from portside.operator.keystore import SECRETS_VARIABLE
from tests.support.lab.everyday import Cluster, Everyday, everyday
from tests.support.lab.year import CONTROL, FIRST, SECOND, THIRD, Operator


@pytest.fixture(scope="session")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """With bare machines and secrets of their own."""
    operator = Operator(tmp_path_factory.mktemp("operator"))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRETS_VARIABLE, str(operator.folder / "secrets"))
        operator.begin([CONTROL, FIRST, SECOND, THIRD])
        yield operator


@pytest.fixture(scope="session")
def cluster(operator: Operator) -> Cluster:
    """As the app knows it, once it is deployed."""
    made = operator.portside("app", "create", "shop", "--scope", "upload,read")
    url = str(load(operator.file).control_url)
    return Cluster(url, made.split()[-1], operator.authority(), operator.hosts)


@pytest.fixture(scope="session")
def day(cluster: Cluster) -> Iterator[Everyday]:
    """The app, at work from the first season to the last."""
    with everyday(cluster) as day:
        yield day
