"""`portside cluster check` says in a line each what is wrong with certificates of one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from portside.cli import app
from tests.support.certificates import encrypted, made

ROOT = made("Root", is_ca=True)
CLUSTER = (
    "name: test\ndomain: portside.test\nnodes: {s01: {}}\n"
    "tls: {mode: files, directory: certificates, authority: ca.pem}\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cluster file with a good pair and its authority beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    (tmp_path / "ca.pem").write_bytes(ROOT.certificate_pem)
    (tmp_path / "certificates").mkdir()
    _put(tmp_path, days=90)
    return tmp_path


def _put(folder: Path, days: int) -> None:
    pair = made("leaf", ROOT, hosts=("s01.portside.test",), days=(-30, days))
    (folder / "certificates" / "s01.crt").write_bytes(pair.certificate_pem)
    (folder / "certificates" / "s01.key").write_bytes(pair.key_pem)


def _check(folder: Path) -> Result:
    return CliRunner().invoke(app, ["cluster", "check", "--file", str(folder / "cluster.yaml")])


def test_what_is_right_is_right_and_what_ends_soon_is_told(folder: Path) -> None:
    assert _check(folder).exit_code == 0
    _put(folder, days=5)
    found = _check(folder)
    assert found.exit_code == 0
    assert "s01.crt: the certificate ends" in found.output


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("ca.pem", None, "tls.authority: {}/ca.pem: No such file"),
        ("ca.pem", b"", "tls.authority: {}/ca.pem: there is no certificate"),
        ("certificates/s01.key", None, "tls.directory: {}/certificates/s01.key: No such file"),
        (
            "certificates/s01.key",
            encrypted(ROOT),
            "tls.directory: {}/certificates/s01.crt: the key is",
        ),
        (
            "certificates/s01.crt",
            b"",
            "tls.directory: {}/certificates/s01.crt: there is",
        ),
    ],
    ids=["no authority", "an empty one", "no key", "an encrypted key", "an empty certificate"],
)
def test_a_file_that_cant_be_used_is_named(
    folder: Path, path: str, content: bytes | None, said: str
) -> None:
    if content is None:
        (folder / path).unlink()
    else:
        (folder / path).write_bytes(content)
    found = _check(folder)
    assert found.exit_code == 1
    (line,) = found.output.splitlines()
    assert line.startswith(said.format(folder))


def test_a_missing_folder_is_named_once(folder: Path) -> None:
    (folder / "certificates").rename(folder / "elsewhere")
    found = _check(folder)
    assert found.exit_code == 1
    assert found.output.splitlines() == [f"tls.directory: there is no folder {folder}/certificates"]


def test_ssh_keys_and_settings_that_are_not_there_are_named(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(
        "name: test\ndomain: portside.test\nnodes: {s01: {ssh: {key: one}}, s02: {}}\n"
        "ssh: {key: every, config: none}\n"
    )
    found = _check(folder)
    assert found.exit_code == 1
    assert [line.partition(f": {folder}/")[0] for line in found.output.splitlines()] == [
        "ssh.key",
        "ssh.config",
        "nodes.s01.ssh.key",
    ]
    for name in ("one", "every", "none"):
        (folder / name).touch()
    assert _check(folder).exit_code == 0


def test_a_secret_that_a_deploy_will_ask_for_is_noted(folder: Path) -> None:
    (folder / "cluster.yaml").write_text(CLUSTER + "cold: {bucket: files}\n")
    found = _check(folder)
    assert found.exit_code == 0
    assert "cold: before a deploy: " in found.output
    assert f"{folder}/secrets/test/cold.credentials" in found.output


def test_programs_are_told_the_same_as_people(folder: Path) -> None:
    path = folder / "cluster.yaml"

    def verdict() -> dict[str, Any]:
        ran = CliRunner().invoke(app, ["cluster", "check", "--json", "--file", str(path)])
        told: dict[str, Any] = json.loads(ran.stdout)
        assert (ran.exit_code, told["file"]) == (0 if told["right"] else 1, str(path))
        return told

    path.write_text(CLUSTER + "uploads: {max_size: 64 GB}\n")
    assert verdict()["mistakes"] == []
    assert verdict()["notes"][0]["key"] == "uploads.max_size"
    (folder / "ca.pem").unlink()
    assert [each["key"] for each in verdict()["mistakes"]] == ["tls.authority"]
    path.write_text(CLUSTER + "colour: blue\n")
    (mistake,) = verdict()["mistakes"]
    assert (mistake["key"], mistake["line"]) == ("colour", 5)
