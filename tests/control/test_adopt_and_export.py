"""Coming with files and leaving with them: against a control plane and two nodes as they are."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from portside.tokens import SigningKey
from tests.support.agent.adoption import NAMESPACE, OWNER, adopt, order
from tests.support.client.command import Run
from tests.support.control.small_cluster import SmallCluster

CONTENTS = {f"{number}.bin": os.urandom(20_000 + number) for number in range(4)}


@pytest.fixture
def logged_in(cluster: SmallCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator, logged in, once every node is healthy."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for variable in ("PORTSIDE_URL", "PORTSIDE_API_KEY", "PORTSIDE_CA", "PORTSIDE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    scopes = ("--scope", "upload,read,delete,admin")
    key = cluster.control.run("app", "create", "people", *scopes).stdout
    login = Run("login", cluster.url, "--ca", str(cluster.ca), stdin=key)
    assert login.code == 0, login.err

    def healthy() -> bool:
        nodes = json.loads(Run("nodes", "--json").out)["nodes"]
        return [node["healthy"] for node in nodes] == [True, True]

    cluster.wait_for(healthy)


def listed() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Run("ls", "--all", "--json").out.splitlines()]


def adopted(cluster: SmallCluster, *, app: str | None = "people") -> Path:
    """Files of an old system on the first node, adopted there and known to the cluster; where
    they were."""
    node = cluster.nodes["s01"]
    folder = node.agent.home / "old"
    folder.mkdir()
    for name, content in CONTENTS.items():
        (folder / name).write_bytes(content)
    issuer = SigningKey.from_json((cluster.control.home / "issuer.key").read_text())
    run = adopt(node.agent, folder, by=order(node.agent, issuer, app=app))
    assert (run.code, run.summary["adopted"]) == (0, len(CONTENTS)), run
    return folder


@pytest.mark.usefixtures("logged_in")
def test_adopted_files_are_known_owned_and_copied_and_go_out_again(
    cluster: SmallCluster, tmp_path: Path
) -> None:
    adopted(cluster)
    first, second = cluster.nodes.values()

    def are_safe() -> bool:
        return [each["state"] for each in listed()] == ["safe"] * len(CONTENTS)

    cluster.wait_for(are_safe)
    for each in listed():
        assert (each["namespace"], each["owner"]) == (NAMESPACE, OWNER)
        assert {copy["node_id"] for copy in each["copies"]} == {first.node_id, second.node_id}
    assert sorted(cluster.contents()[1]) == sorted(CONTENTS.values())
    (held,) = (each for each in listed() if each["name"] == "3.bin")
    (lost,) = (each for each in listed() if each["name"] == "2.bin")

    # Listed before a byte is fetched.
    run = Run("export", "list", "--manifest-only")
    assert run.code == 0, run.err
    lines = Path("list/manifest.jsonl").read_text().splitlines()
    assert {json.loads(line)["name"] for line in lines} == set(CONTENTS)
    assert sorted(each.name for each in Path("list").iterdir()) == ["SHA256SUMS", "manifest.jsonl"]

    # A copy that is damaged on one node comes from the other; one that is held from nowhere.
    for node in (first, second):
        (node.agent.root / "uploads" / lost["path"]).write_bytes(b"x" * lost["size"])
        if node is first:
            assert Run("export", "half", "--owner", OWNER).code == 0
    assert Run("hold", held["file_id"]).code == 0
    out = tmp_path / "out"
    run = Run("export", str(out), "--json")
    assert run.code == 1, run.err
    said = json.loads(run.out)
    assert (said["fetched"], said["there"]) == (2, 0)
    assert {each["file_id"] for each in said["missing"]} == {held["file_id"], lost["file_id"]}
    assert lost["path"] not in (out / "SHA256SUMS").read_text()
    for each in (held, lost):
        assert f"{each['path']}: missing: " in run.err
    check = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=out,
        capture_output=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr

    # The same command goes on: what was changed meanwhile is not taken for the file.
    assert Run("release", held["file_id"]).code == 0
    entry = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])
    (out / entry["path"]).write_bytes(b"mine")
    again = json.loads(Run("export", str(out), "--json").out)
    assert (again["fetched"], again["there"]) == (2, 1)
    assert (out / entry["path"]).read_bytes() == b"mine"
    for line in (out / "manifest.jsonl").read_text().splitlines():
        found = json.loads(line)
        content = (out / found["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == found["sha256"]
        assert content == CONTENTS[found["name"]]
    assert not list(out.rglob(".*"))


@pytest.mark.usefixtures("logged_in")
def test_an_export_of_nothing_is_an_empty_list_and_a_folder_that_is_none_is_said() -> None:
    run = Run("export", "empty", "--namespace", "nobodys")
    assert run.code == 0, run.err
    assert Path("empty/manifest.jsonl").read_text() == ""
    Path("file").write_text("x")
    run = Run("export", "file")
    assert (run.code, run.err.count("\n")) == (2, 1)
    assert "file: " in run.err
