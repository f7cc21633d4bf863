"""Commands on nodes: each answers for itself, whatever becomes of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from operate import nodes
from operate.site import Refused, Site
from portside.operator import known_hosts
from tests.support.ssh_server import SshServer, generate


def test_a_node_that_is_down_is_named_and_the_others_answer(site: Site) -> None:
    answers = nodes.ask(site, ["s02", "s01"], ["sh", "-c", "read x; echo got $x"], "this\n")
    assert list(answers) == ["s02", "s01"]
    assert answers["s01"].out == "got this\n"
    assert not answers["s02"].ok
    assert answers["s02"].trouble.startswith("s02: can't be reached over SSH: ")
    assert "refused" in answers["s02"].trouble


def test_a_command_that_fails_is_told_in_its_own_last_words(site: Site) -> None:
    answers = nodes.ask(site, ["s01"], ["sh", "-c", "echo first; echo that is why >&2; exit 3"])
    assert (answers["s01"].code, answers["s01"].trouble) == (3, "s01: that is why")
    with pytest.raises(Refused, match="s01: that is why"):
        nodes.ask_one(site, "s01", ["sh", "-c", "echo that is why >&2; exit 3"])


def test_a_command_that_hangs_is_given_up(site: Site) -> None:
    answers = nodes.ask(site, ["s01"], ["sleep", "60"], patience=0.5)
    assert answers["s01"].unreached == "s01: no answer within 0 seconds"


def test_only_the_pinned_host_key_is_believed(
    site: Site, server: SshServer, tmp_path: Path
) -> None:
    known_hosts.forget(site.keystore, "s01")
    other = known_hosts.HostKey(*generate(tmp_path / "other").split())
    known_hosts.pin(site.keystore, [("s01", f"[127.0.0.1]:{server.port}", other)])
    assert "portside keys forget s01" in nodes.ask(site, ["s01"], ["true"])["s01"].trouble


def test_lines_come_as_they_are_written_and_every_end_is_told(site: Site) -> None:
    said = list(nodes.follow(site, ["s01", "s02", "c01"], ["sh", "-c", "echo one; echo two"]))
    assert [line for node_id, line in said if node_id == "s01"] == ["one", "two", None]
    assert [line for node_id, line in said if node_id == "c01"] == ["one", "two", None]
    assert [line for node_id, line in said if node_id == "s02"][-1] is None
