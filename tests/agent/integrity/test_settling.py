"""What is in quarantine is listed with its reason, and settled beside a working agent."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.host import linux
from agent.host.filesystem import Filesystem
from agent.integrity.kept import entries, one
from agent.integrity.settling import Settler, Unsettled
from agent.storage.attributes import Attributes
from agent.storage.quarantine import REASON_KEY, Kept, finish_quarantines, put_back, quarantine
from agent.storage.staging import DiskFailed
from portside.tokens import verify_receipt
from portside.wire.files import StoredFile
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent
from tests.support.agent.worker_process import Worker

CONTENT = b"0123456789"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose agent works beside every test."""
    agent = Agent(tmp_path_factory.mktemp("settling"))
    agent.start()
    yield Node(agent)
    agent.kill()


@pytest.fixture
def settler(node: Node) -> Settler:
    return Settler(node.settings, node.database, node.agent.node_key)


def quarantined(node: Node, damaged: bool = True, **claims: Any) -> StoredFile:
    """A file in quarantine, whose bytes are damaged or good."""
    name = f"{os.urandom(4).hex()}.bin"
    file = StoredFile.model_validate(
        node.agent.put(name, CONTENT, node.agent.mint(**claims)).json()
    )
    if damaged:
        node.data(file).write_bytes(b"x" * len(CONTENT))
    quarantine(node.settings, node.database, file.file_id, "it smells")
    return file


def served(node: Node, file: StoredFile) -> int:
    url = f"{node.agent.url}/api/v1/files/{file.file_id}"
    return requests.get(url, timeout=60).status_code


def kept_names(node: Node, file_id: str) -> set[str]:
    return {path.name for path in node.settings.quarantine.glob(f"{file_id}*")}


def command(node: Node, *arguments: str) -> tuple[int, str]:
    done = node.agent.command("quarantine", *arguments)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout


def test_a_list_says_which_file_it_is_why_and_what_to_do(node: Node) -> None:
    file = quarantined(node)
    code, said = command(node, "list", file.file_id)
    assert code == 0
    assert f"{file.file_id}  damaged  10 B  since 20" in said
    assert str(file.path) in said
    assert "why: it smells" in said
    assert "good copies elsewhere: none known" in said
    assert f"`portside-agent quarantine settle {file.file_id}`" in said
    code, said = command(node, "--json")
    listed = {each["kept_id"]: each for each in json.loads(said)["files"]}
    assert listed[file.file_id]["reason"] == "it smells"
    assert listed[file.file_id]["size"] == listed[file.file_id]["kept_bytes"] == 10


def test_fsck_says_that_there_is_a_quarantine_although_nothing_is_to_be_mended(node: Node) -> None:
    quarantined(node)
    last = node.agent.command("fsck").stdout.splitlines()[-1]
    assert last.endswith(" in quarantine: see `portside-agent quarantine`")


def test_good_bytes_are_put_back_and_served_again(node: Node) -> None:
    file = quarantined(node, damaged=False)
    assert served(node, file) == 410
    code, said = command(node, "settle", file.file_id)
    assert (code, said) == (0, f"{file.file_id}: put back to uploads/{file.path}\n")
    assert served(node, file) == 200
    assert node.data(file).read_bytes() == CONTENT
    assert kept_names(node, file.file_id) == set()
    assert node.database.note(REASON_KEY + file.file_id) is None
    again = StoredFile.model_validate(
        requests.get(f"{node.agent.url}/api/v1/files/{file.file_id}", timeout=60).json()
    )
    assert node.attributes(file).receipt == again.receipt
    assert verify_receipt(again.receipt, node.agent.node_keys).sha256 == file.sha256
    assert node.agent.command("fsck", "--digests", "--minimum-age", "0").returncode != 2


def test_damaged_bytes_are_not_put_back(node: Node) -> None:
    file = quarantined(node)
    code, said = command(node, "settle", file.file_id, "--restore")
    assert code == 1
    assert "NOT SETTLED: its bytes are not good: its SHA-256 is" in said
    assert served(node, file) == 410
    code, said = command(node, "settle", file.file_id, "--json")
    assert code == 1
    told = json.loads(said)
    assert told["outcome"] is None
    assert "the roster has no other node" in told["detail"]
    assert kept_names(node, file.file_id) == {f"{file.file_id}.data", f"{file.file_id}.attr.json"}


def test_the_only_copy_goes_only_when_its_loss_is_accepted(node: Node) -> None:
    file = quarantined(node)
    code, said = command(node, "settle", file.file_id, "--remove")
    assert code == 1
    assert f"lost would be {file.path}" in said
    assert "--accept-loss" in said
    assert kept_names(node, file.file_id)
    code, said = command(node, "settle", file.file_id, "--remove", "--accept-loss")
    assert (code, said) == (0, f"{file.file_id}: removed: its loss was accepted\n")
    assert kept_names(node, file.file_id) == set()
    assert served(node, file) == 404
    # Its token stays used.
    assert node.database.row("SELECT 1 FROM departed WHERE file_id = ?", (file.file_id,))


def test_a_name_that_was_given_again_is_not_taken_back(node: Node) -> None:
    first = quarantined(node, damaged=False, layout="named")
    second = node.agent.put(first.name, b"second", node.agent.mint(layout="named"))
    assert second.status_code == 201
    code, said = command(node, "settle", first.file_id, "--restore")
    assert code == 1
    assert "is another file's by now" in said
    assert node.data(first).read_bytes() == b"second"
    assert kept_names(node, first.file_id) == {
        f"{first.file_id}.data",
        f"{first.file_id}.attr.json",
    }


def test_an_id_that_nothing_has_is_refused_before_anything_is_changed(node: Node) -> None:
    file = quarantined(node, damaged=False)
    done = node.agent.command("quarantine", "settle", file.file_id, "0" * 32)
    assert done.returncode == 1
    assert f"nothing in quarantine has the id '{'0' * 32}'" in done.stderr
    assert served(node, file) == 410


@pytest.mark.parametrize("step", ["rename", "rename_without_replacing", "sync_directory"])
def test_a_way_back_that_is_cut_short_is_undone_at_the_next_start(
    node: Node, settler: Settler, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = quarantined(node, damaged=False)
    real_rename = Path.rename

    def cut(*arguments: Any) -> None:
        raise KeyboardInterrupt

    def rename_then_cut(path: Path, target: Path) -> None:
        real_rename(path, target)
        if Path(target) == node.beside(file):
            raise KeyboardInterrupt

    real_sync = Filesystem.sync_directory

    def cut_behind_the_renames(disk: Filesystem, path: Path) -> None:
        if path == node.data(file).parent:
            raise KeyboardInterrupt
        real_sync(disk, path)

    with monkeypatch.context() as patched:
        if step == "rename":
            patched.setattr(Path, "rename", rename_then_cut)
        elif step == "rename_without_replacing":
            patched.setattr(linux, step, cut)
        else:
            patched.setattr(Filesystem, step, cut_behind_the_renames)
        with pytest.raises(KeyboardInterrupt):
            settler.restore(one(node.settings, node.database, file.file_id))
    assert served(node, file) == 410
    assert finish_quarantines(node.settings, node.database) >= 1
    assert not node.data(file).exists()
    assert not node.beside(file).exists()
    assert kept_names(node, file.file_id) == {f"{file.file_id}.data", f"{file.file_id}.attr.json"}
    settler.restore(one(node.settings, node.database, file.file_id))
    assert served(node, file) == 200


def test_what_is_settled_meanwhile_is_left_alone(node: Node, settler: Settler) -> None:
    file = quarantined(node, damaged=False)
    seen = one(node.settings, node.database, file.file_id)
    settler.restore(seen)
    with pytest.raises(Unsettled):
        settler.restore(seen)
    with pytest.raises(Unsettled, match="not in quarantine any more"):
        settler.remove(seen, accept_loss=True)
    assert served(node, file) == 200


def test_a_disk_that_fails_leaves_it_in_quarantine(
    node: Node, settler: Settler, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = quarantined(node, damaged=False)

    def fail(disk: Filesystem, path: Path) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(Filesystem, "sync_directory", fail)
        with pytest.raises(DiskFailed):
            settler.restore(one(node.settings, node.database, file.file_id))
    finish_quarantines(node.settings, node.database)
    settler.restore(one(node.settings, node.database, file.file_id))
    assert served(node, file) == 200


def test_what_the_index_has_lost_is_known_again_and_put_back(node: Node) -> None:
    file = quarantined(node, damaged=False)
    node.forget(file)
    _, said = command(node, "show", file.file_id)
    assert "  unindexed  " in said
    assert command(node, "settle", file.file_id)[0] == 0
    assert served(node, file) == 200


def test_what_fsck_set_aside_is_listed_and_put_back_if_it_is_good(node: Node) -> None:
    """Here a whole file whose attributes tell of another path, which fsck couldn't put back."""
    file = StoredFile.model_validate(node.agent.put("a.bin", CONTENT).json())
    attributes = node.attributes(file)
    node.forget(file)
    stray = "stray-0123456789abcdef"
    places = Kept.of(node.settings, stray)
    node.data(file).rename(places.data)
    node.beside(file).rename(places.attributes)
    note = node.settings.quarantine / f"{stray}.why.json"
    note.write_text(json.dumps({"kind": "misplaced", "path": "x/a.bin", "detail": "far away"}))
    _, said = command(node, "show", stray)
    assert "set aside by fsck: misplaced at uploads/x/a.bin: far away" in said
    assert command(node, "settle", stray)[0] == 0
    assert served(node, file) == 200
    assert node.attributes(file).jti == attributes.jti
    assert kept_names(node, stray) == kept_names(node, file.file_id) == set()


def test_what_nobody_knows_is_only_ever_removed(node: Node) -> None:
    stray = "stray-00000000000000aa"
    places = Kept.of(node.settings, stray)
    places.data.write_bytes(b"whose?")
    code, said = command(node, "settle", stray)
    assert code == 1
    assert "nothing tells whose it is" in said
    code, said = command(node, "settle", stray, "--remove")
    assert code == 1
    assert "6 B of bytes of which nothing tells whose they are" in said
    assert command(node, "settle", stray, "--remove", "--accept-loss")[0] == 0
    assert kept_names(node, stray) == set()


def test_what_is_left_over_of_a_file_in_service_costs_nothing_to_remove(node: Node) -> None:
    file = StoredFile.model_validate(node.agent.put("a.bin", CONTENT).json())
    Kept.of(node.settings, file.file_id).data.write_bytes(b"old")
    code, said = command(node, "settle", file.file_id, "--remove")
    assert (code, said) == (0, f"{file.file_id}: removed: the file is in service\n")
    assert served(node, file) == 200


def test_foreign_words_give_no_orders_to_a_terminal(node: Node) -> None:
    stray = "stray-00000000000000bb"
    note = node.settings.quarantine / f"{stray}.why.json"
    note.write_text(json.dumps({"kind": "x\x1b[2J\n", "path": "y", "detail": "z"}))
    _, said = command(node, "show", stray)
    assert "\x1b" not in said
    command(node, "settle", stray, "--remove", "--accept-loss")


def test_health_forgets_what_was_settled_without_a_restart(node: Node) -> None:
    for each in entries(node.settings, node.database):
        command(node, "settle", each.kept_id, "--remove", "--accept-loss")
    file = quarantined(node, damaged=False)

    def warnings() -> str:
        answer = requests.get(f"{node.agent.url}/health/ready", timeout=60).json()
        return " ".join(answer["warnings"])

    worker = Worker(node.agent)
    worker.start()
    try:
        worker.wait_for(lambda: "files-damaged: 1 in quarantine" in warnings())
        assert "`portside-agent quarantine`" in warnings()
        assert command(node, "settle", file.file_id)[0] == 0
        worker.wait_for(lambda: "files-damaged" not in warnings())
    finally:
        worker.stop()


def test_a_put_back_takes_no_other_files_row(node: Node) -> None:
    file = quarantined(node, damaged=False)
    attributes = Attributes.model_validate_json(
        Kept.of(node.settings, file.file_id).attributes.read_bytes()
    )
    put_back(node.settings, node.database, attributes)
    with pytest.raises(FileNotFoundError):
        put_back(node.settings, node.database, attributes)
    with pytest.raises(sqlite3.IntegrityError):
        node.sql("INSERT INTO files SELECT * FROM files WHERE file_id = ?", file.file_id)
