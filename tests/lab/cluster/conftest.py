"""The lab's cluster as tests see it: over SSH, over HTTPS, and through the deploy itself."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from testinfra.host import Host

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import Cluster, load
from portside.operator.keystore import Keystore
from tests.support.lab.control_plane import ControlPlane, portside, wait_for
from tests.support.lab.deploy import Run, deploy
from tests.support.lab.places import LAB
from tests.support.lab.requests import Node, talking_to
from tests.support.lab.ssh import logged_in


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    return load(LAB)


@pytest.fixture(scope="session", autouse=True)
def provisioned(cluster: Cluster) -> Run:
    """Every storage node as the sources are now, whatever it was before."""
    Keystore.for_cluster(cluster, PROJECT_ROOT).init(cluster)
    run = deploy(LAB)
    assert run.succeeded, run.output
    return run


@pytest.fixture(scope="session")
def nodes(cluster: Cluster) -> Iterator[Mapping[str, Host]]:
    """Each machine by its id, as root."""
    with logged_in(cluster.nodes) as hosts:
        yield hosts


@pytest.fixture(params=["s01", "s02", "s03"])
def storage(request: pytest.FixtureRequest, nodes: Mapping[str, Host]) -> Host:
    """Each storage node in turn: Debian 12, Debian 13, and Debian 13 with 512 MiB."""
    return nodes[request.param]


@pytest.fixture(scope="session")
def trust(cluster: Cluster) -> ssl.SSLContext:
    """Trusts the lab's own certificate authority, and checks names."""
    keystore = Keystore.for_cluster(cluster, PROJECT_ROOT)
    return ssl.create_default_context(cafile=str(keystore.ca_certificate()))


@pytest.fixture(scope="session")
def talk(cluster: Cluster, trust: ssl.SSLContext) -> Mapping[str, Node]:
    """Each storage node over HTTPS, with the cluster's issuer to mint tokens."""
    issuer = Keystore.for_cluster(cluster, PROJECT_ROOT).issuer_key()
    return {each: talking_to(cluster, each, trust, issuer) for each in cluster.with_role("storage")}


@pytest.fixture(scope="session")
def control(cluster: Cluster, trust: ssl.SSLContext) -> Iterator[ControlPlane]:
    """The lab's control plane with every node healthy, and an app of these tests' own."""
    name = "lab-tests"
    portside("app", "revoke", name)
    made = portside("app", "create", name, "--scope", "admin")
    assert made.returncode == 0, made.stderr
    url = urlsplit(str(cluster.control_url))
    control = ControlPlane(str(url.hostname), trust, made.stdout.split()[-1])
    # A run that was broken off may have left one draining.
    for node_id, (state, _) in control.states().items():
        if state in ("readonly", "draining"):
            control.set_state(node_id, "active")
    control.wait_until_healthy()
    yield control
    assert portside("app", "revoke", name).returncode == 0


@pytest.fixture
def at_rest(nodes: Mapping[str, Host]) -> Mapping[str, frozenset[str]]:
    """Begins once every copy of what earlier tests stored is made; what each staging holds then.

    That may be a push that its node broke off for good: it stays for a day.
    """
    storage = {node_id: host for node_id, host in nodes.items() if node_id.startswith("s")}
    waiting = "/opt/portside/current/venv/bin/portside-agent pushes list | grep -q '  due '"

    def staged() -> dict[str, frozenset[str]]:
        return {
            node_id: frozenset(host.file("/srv/portside/staging").listdir())
            for node_id, host in storage.items()
        }

    def look() -> dict[str, frozenset[str]] | None:
        before = staged()
        with ThreadPoolExecutor() as pool:
            pushing = any(pool.map(lambda host: host.run(waiting).rc == 0, storage.values()))
        return before if not pushing and staged() == before else None

    return wait_for("every copy is made", 180, look)
