"""Certificates from an ACME authority: had, renewed under an upload, and left behind again."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from deploys import layout
from portside.quantities import MIB
from tests.support.lab.control_plane import wait_for
from tests.support.lab.deploy import deploy
from tests.support.lab.pebble import Pebble, running_pebble
from tests.support.lab.requests import Node, read_answer
from tests.support.lab.spare import NODE, Spare

OLD = "tls: {mode: lab}"


def _asking(authority: Pebble) -> str:
    return (
        "tls: {mode: acme, email: ops@portside.test, "
        f"directory_url: '{authority.directory_url}', authority: {authority.authority}}}"
    )


def _shown_by(node: Node) -> bytes:
    with node.connect() as connection:
        return connection.getpeercert(binary_form=True) or b""


@pytest.fixture(autouse=True)
def without_a_certificate(spare: Spare) -> None:
    """Who leaves an authority keeps what it gave: so did the test here, in an earlier run."""
    spare.host.check_output(f"rm -rf {layout.ACME_HOME}")


def test_a_name_that_leads_nowhere_is_refused_before_anything_is_changed(
    spare: Spare, changed_cluster: Callable[[str, str], Path]
) -> None:
    changed = changed_cluster(OLD, "tls: {mode: acme, email: ops@portside.test}")
    changed.write_text(changed.read_text().replace("domain: portside.test", "domain: no.test"))
    run = deploy(changed)
    assert not run.succeeded
    assert f"{NODE}.no.test doesn't resolve: create `{NODE}.no.test. A " in run.output
    assert run.operations == []
    assert not spare.host.file(layout.ACME_HOME).exists


@pytest.mark.usefixtures("put_back")
def test_a_certificate_is_had_in_one_run_and_renewed_under_an_upload(
    spare: Spare, changed_cluster: Callable[[str, str], Path], tmp_path: Path
) -> None:
    host = spare.host
    with running_pebble(host, spare.node.host, tmp_path) as authority:
        changed = changed_cluster(OLD, _asking(authority))
        run = deploy(changed)
        assert run.succeeded, run.output
        trust = ssl.create_default_context(cafile=str(authority.authority))
        node = dataclasses.replace(spare.node, trust=trust)
        node.wait_until_ready()
        first, master = _shown_by(node), host.file("/run/nginx.pid").content_string

        body = bytes(2 * MIB)
        uploading = node.open_put("renewed.bin", len(body), node.mint(size=len(body)))
        with uploading:
            uploading.sendall(body[:MIB])
            host.check_output(f"{layout.CERTIFICATE_COMMAND} renew --now")
            # For a moment, workers that are about to end answer beside the new ones.
            wait_for("the new one is shown", 60, lambda: _shown_by(node) != first or None)
            uploading.sendall(body[MIB:])
            assert read_answer(uploading).status == 201
        assert host.file("/run/nginx.pid").content_string == master

        again = deploy(changed)
        assert again.hosts("success") == {}, again.output

    back = deploy(spare.file)
    assert back.succeeded, back.output
    spare.node.wait_until_ready()
    assert not host.file(f"{layout.UNITS}/{layout.CERTIFICATE_TIMER}").exists
    spare.node.remove_files("lab")
