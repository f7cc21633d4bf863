"""A certificate that can't work is refused before a node is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyinfra.api.exceptions import PyinfraError

from deploys import layout
from deploys.components.tls import PLACEHOLDER, authority_file, certificate_files
from portside.cluster.file import Cluster, parse
from portside.operator import certificates
from portside.operator.keystore import Keystore
from tests.support.cluster_files import CLUSTER
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.this_computer import Programs

HOST = "s01.portside.test"


@pytest.fixture(scope="module")
def ca() -> certificates.Pair:
    return certificates.make_ca("test")


def _files(folder: Path, authority: str | None = None) -> Cluster:
    named = "" if authority is None else f", authority: {folder / authority}"
    return parse(CLUSTER + f"tls: {{mode: files, directory: {folder}{named}}}\n")


def _pair(ca: certificates.Pair, host: str = HOST) -> tuple[str, str]:
    made = certificates.issue(ca, host)
    return made.certificate_pem.decode(), made.key_pem.decode()


def test_the_operators_own_files_are_found_by_node_id(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode
) -> None:
    certificate, key = _pair(ca)
    (tmp_path / "s01.crt").write_text(certificate.rstrip())
    (tmp_path / "s01.key").write_text(key)
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    node = make_node(cluster=_files(tmp_path, "ca.pem"))
    assert certificate_files(node) == (certificate, key)
    assert authority_file(node) == ca.certificate_pem.decode()


def test_they_lie_beside_the_cluster_file_where_its_check_found_them(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTSIDE_CLUSTER", str(tmp_path / "cluster.yaml"))
    pair = _pair(ca)
    (tmp_path / "tls").mkdir()
    (tmp_path / "tls" / "s01.crt").write_text(pair[0])
    (tmp_path / "tls" / "s01.key").write_text(pair[1])
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    files = parse(CLUSTER + "tls: {mode: files, directory: tls, authority: ca.pem}\n")
    assert certificate_files(make_node(cluster=files)) == pair


def test_a_certificate_of_an_authority_that_nobody_knows_is_refused(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode
) -> None:
    certificate, key = _pair(ca)
    (tmp_path / "s01.crt").write_text(certificate)
    (tmp_path / "s01.key").write_text(key)
    with pytest.raises(PyinfraError, match=r"s01: no certificate to use: .*tls\.authority"):
        certificate_files(make_node(cluster=_files(tmp_path)))


def test_an_authority_that_is_none_is_refused(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode
) -> None:
    (tmp_path / "ca.pem").write_text(_pair(ca)[0])
    with pytest.raises(PyinfraError, match=r"no certificate authority: .* may sign no other"):
        authority_file(make_node(cluster=_files(tmp_path, "ca.pem")))


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


def test_an_authority_that_is_named_goes_to_the_nodes(
    ca: certificates.Pair, tmp_path: Path, make_node: MakeNode
) -> None:
    authority = ca.certificate_pem.decode()
    (tmp_path / "ca.pem").write_text(authority)
    said = f"tls: {{mode: acme, email: ops@portside.test, authority: {tmp_path}/ca.pem}}\n"
    assert authority_file(make_node(cluster=parse(CLUSTER + said))) == authority
    (tmp_path / "ca.pem").unlink()
    with pytest.raises(PyinfraError, match=r"s01: no certificate authority: .*ca\.pem"):
        authority_file(make_node(cluster=parse(CLUSTER + said)))


def test_why_no_certificate_to_begin_with_could_be_made_is_told(tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    programs.make("openssl", 'echo "openssl $1: no entropy" >&2; exit 1')
    done = programs.run(f"set -e; {PLACEHOLDER.replace(layout.TLS, str(tmp_path))}")
    assert done.returncode != 0
    assert done.stderr == "openssl req: no entropy\n"
