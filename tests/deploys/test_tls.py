"""A certificate that can't work is refused before a node is touched."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys.components.tls import authority_file, certificate_files, check_pair
from portside.cluster.file import parse
from portside.operator import certificates
from portside.operator.keystore import Keystore
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeNode

HOST = "s01.portside.test"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def ca() -> certificates.Pair:
    return certificates.make_ca("test")


def _pair(ca: certificates.Pair, host: str = HOST) -> tuple[str, str]:
    made = certificates.issue(ca, host)
    return made.certificate_pem.decode(), made.key_pem.decode()


@pytest.mark.parametrize("host", [HOST, "*.portside.test"])
def test_a_pair_for_the_host_is_taken(ca: certificates.Pair, host: str) -> None:
    check_pair(*_pair(ca, host), host=HOST, moment=NOW)


def test_a_certificate_for_another_host_is_refused(ca: certificates.Pair) -> None:
    with pytest.raises(ValueError, match=r"is for s02\.portside\.test, not for s01"):
        check_pair(*_pair(ca, "s02.portside.test"), host=HOST, moment=NOW)


def test_another_certificates_key_is_refused(ca: certificates.Pair) -> None:
    with pytest.raises(ValueError, match="belongs to another certificate"):
        check_pair(_pair(ca)[0], _pair(ca)[1], host=HOST, moment=NOW)


@pytest.mark.parametrize("days", [-2, 400])
def test_a_certificate_is_refused_outside_its_time(ca: certificates.Pair, days: int) -> None:
    with pytest.raises(ValueError, match="not valid now"):
        check_pair(*_pair(ca), host=HOST, moment=NOW + timedelta(days=days))


def test_the_operators_own_files_are_found_by_node_id(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode
) -> None:
    certificate, key = _pair(ca)
    (tmp_path / "s01.crt").write_text(certificate.rstrip())
    (tmp_path / "s01.key").write_text(key)
    cluster = parse(CLUSTER + f"tls: {{mode: files, directory: {tmp_path}}}\n")
    assert certificate_files(make_node(cluster=cluster)) == (certificate, key)


def test_missing_files_are_named(tmp_path: Path, make_node: MakeNode) -> None:
    cluster = parse(CLUSTER + f"tls: {{mode: files, directory: {tmp_path}}}\n")
    with pytest.raises(PyinfraError, match=r"s01: no certificate to use: .*s01\.crt"):
        certificate_files(make_node(cluster=cluster))


def test_without_keys_the_operator_hears_what_to_run(
    tmp_path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path))
    with pytest.raises(PyinfraError, match="portside keys init"):
        certificate_files(make_node())


def test_the_labs_certificate_stays_the_same_between_runs(
    tmp_path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path))
    node = make_node()
    Keystore.for_cluster(node.cluster, tmp_path).init(node.cluster)
    assert certificate_files(node) == certificate_files(node)


def test_the_labs_own_authority_goes_to_the_nodes_and_no_one_elses(
    tmp_path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTSIDE_SECRETS", str(tmp_path))
    node = make_node()
    keystore = Keystore.for_cluster(node.cluster, tmp_path)
    keystore.init(node.cluster)
    assert authority_file(node) == keystore.ca_certificate().read_text()
    files = parse(CLUSTER + "tls: {mode: files, directory: /nowhere}\n")
    assert authority_file(make_node(cluster=files)) is None


def test_an_authority_that_is_named_goes_to_the_nodes(tmp_path: Path, make_node: MakeNode) -> None:
    (tmp_path / "ca.pem").write_text("certificates")
    said = f"tls: {{mode: acme, email: ops@portside.test, authority: {tmp_path}/ca.pem}}\n"
    assert authority_file(make_node(cluster=parse(CLUSTER + said))) == "certificates\n"
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(PyinfraError, match=r"s01: no certificate authority: .*ca\.pem"):
        authority_file(make_node(cluster=parse(CLUSTER + said)))
