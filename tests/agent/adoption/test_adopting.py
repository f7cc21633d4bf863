"""Files of another system become stored ones: as uploads are, once, and with nothing lost."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from agent.commands import cli
from portside.orders.copies import verify_held
from portside.tokens import SigningKey, verify_receipt
from portside.wire.hooks import Hook
from portside.wire.inventory import HeldFile
from portside.wire.keys import Keyset
from tests.support.agent.adoption import NAMESPACE, OWNER, adopt, arguments_for, order
from tests.support.agent.damage import Node
from tests.support.agent.process import Agent
from tests.support.agent.stored_files import access
from tests.support.agent.worker_process import add_hooks

AGENT_USER = 54321


@pytest.fixture
def agent(make_agent: Callable[..., Agent]) -> Agent:
    """A node whose processes don't run: the command needs none of them."""
    made: Agent = make_agent()
    return made


@pytest.fixture
def folder(agent: Agent) -> Path:
    """On the node's own filesystem, beside its root."""
    made = agent.home / "old-uploads"
    made.mkdir()
    return made


def stored(agent: Agent, said: dict[str, Any]) -> Path:
    return agent.root / "uploads" / str(said["path"])


def attributes(agent: Agent, said: dict[str, Any]) -> dict[str, Any]:
    path = stored(agent, said)
    found: dict[str, Any] = json.loads(path.with_name(path.name + ".attr.json").read_text())
    return found


def test_a_file_is_stored_where_it_lies_with_digest_attributes_and_receipt(
    agent: Agent, folder: Path
) -> None:
    (folder / "2024").mkdir()
    source = folder / "2024" / "disk.img"
    source.write_bytes(content := os.urandom(3_000_000))
    inode = source.stat().st_ino
    run = adopt(agent, folder)
    assert (run.code, run.summary["adopted"], run.summary["bytes"]) == (0, 1, len(content))
    said = run.files["2024/disk.img"]
    assert said["sha256"] == hashlib.sha256(content).hexdigest()
    assert not source.exists()
    assert stored(agent, said).stat().st_ino == inode, "its bytes were copied"
    kept = attributes(agent, said)
    receipt = verify_receipt(kept["receipt"], agent.node_keys)
    assert (receipt.file_id, receipt.sha256, str(receipt.path)) == (
        said["file_id"],
        said["sha256"],
        said["path"],
    )
    assert (kept["owner"], kept["namespace"], kept["name"]) == (OWNER, NAMESPACE, "disk.img")
    # What it was adopted by bears it out to a control plane that has forgotten it.
    held = HeldFile.model_validate({**kept, "proof": kept["upload_token"]})
    verify_held(held, Keyset(keys=(agent.issuer.public(),)), agent.node_id)
    assert agent.leftovers() == []
    assert agent.command("fsck", "--digests").returncode == 0


def test_a_running_node_lists_what_it_has_adopted(agent: Agent, folder: Path) -> None:
    agent.start()
    (folder / "a.txt").write_text("old")
    # Beside uploads, by the index that the agent has open.
    said = adopt(agent, folder).files["a.txt"]
    assert agent.put("new.txt", b"new").status_code == 201
    answer = requests.get(
        f"{agent.url}/api/v1/files/{said['file_id']}",
        headers=access(agent, rights=("list",)),
        timeout=60,
    )
    assert answer.json()["sha256"] == said["sha256"]


def test_a_second_run_goes_on_and_stores_nothing_twice(agent: Agent, folder: Path) -> None:
    (folder / "a.txt").write_text("a")
    assert adopt(agent, folder, "--copy").summary["adopted"] == 1
    (folder / "b.txt").write_text("b")
    again = adopt(agent, folder, "--copy")
    assert (again.code, again.summary["adopted"], again.summary["already"]) == (0, 1, 1)
    assert len(agent.visible_files()) == 2
    assert sorted(each.name for each in folder.iterdir()) == ["a.txt", "b.txt"]


def test_another_content_under_a_name_that_is_stored_is_named_and_left(
    agent: Agent, folder: Path
) -> None:
    for place, text in (("1", "one"), ("2", "two"), ("3", "one")):
        (folder / place).mkdir()
        (folder / place / "a.txt").write_text(text)
    run = adopt(agent, folder, "--layout", "named")
    assert run.code == 1
    assert run.files["1/a.txt"]["path"] == f"{NAMESPACE}/a.txt"
    assert "other content" in run.why("2/a.txt")
    assert run.files["3/a.txt"]["result"] == "already"
    assert (folder / "2" / "a.txt").read_text() == "two"
    assert stored(agent, run.files["1/a.txt"]).read_text() == "one"
    # By date both have room.
    assert adopt(agent, folder).files["2/a.txt"]["result"] == "adopted"


HOSTILE = {
    b"latin-\xe9.txt": "not UTF-8",
    b"utf16-\xff\xfe.txt": "not UTF-8",
    b"line\nbreak.txt": "control characters",
    b"escape\x1b[2J.txt": "control characters",
    b"back\\slash.txt": "must not contain",
    b"...": "letter or digit",
    b"noextension": "no extension",
    b"page.html": "a browser may run them",
    b"x.attr.json": ".attr.json",
    b"thing.weird": "not taken",
}
CLEANED = {
    b"a b;$(rm -rf).txt": "a_b_rm_-rf_.txt",
    b".hidden.txt": "hidden.txt",
    b"-rf.txt": "rf.txt",
    "evil\u202etxt.txt".encode(): "evil_txt.txt",
    b"a" * 250 + b".txt": "a" * 196 + ".txt",
    "é.txt".encode(): "é.txt",
}


def test_hostile_names_are_cleaned_as_an_uploads_or_left_with_the_reason(
    agent: Agent, folder: Path
) -> None:
    for name in (*HOSTILE, *CLEANED):
        (folder / os.fsdecode(name)).write_bytes(name)
    run = adopt(agent, folder)
    assert (run.summary["adopted"], run.summary["left"]) == (len(CLEANED), len(HOSTILE))
    assert all(each.isprintable() for each in run.files)
    for name, why in HOSTILE.items():
        (said,) = [each for each in run.files.values() if why in each.get("why", "")][:1]
        assert said["result"] == "left", name
        assert (folder / os.fsdecode(name)).read_bytes() == name
    names = {each["name"]: each for each in run.files.values() if "name" in each}
    for name, clean in CLEANED.items():
        assert stored(agent, names[clean]).read_bytes() == name


def test_what_is_no_regular_file_is_named_and_never_followed(
    agent: Agent, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = agent.home / "secret.txt"
    secret.write_text("secret")
    (folder / "link.txt").symlink_to(secret)
    (folder / "folder-link").symlink_to(agent.home)
    os.mkfifo(folder / "pipe.txt")
    os.mknod(folder / "device.img", 0o020600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as listening:
        # Paths of sockets are limited (unix(7)).
        monkeypatch.chdir(folder)
        listening.bind("s.txt")
        run = adopt(agent, folder)
    for name, what in (
        ("link.txt", "symbolic link"),
        ("folder-link", "symbolic link"),
        ("pipe.txt", "pipe"),
        ("device.img", "character device"),
        ("s.txt", "socket"),
    ):
        assert what in run.why(name)
    assert (run.code, run.summary["adopted"]) == (1, 0)
    assert secret.read_text() == "secret"


def test_a_file_that_somebody_writes_to_is_left_for_the_next_run(
    agent: Agent, folder: Path
) -> None:
    path = folder / "growing.txt"
    with path.open("w") as file:
        file.write("half")
        file.flush()
        assert "being written" in adopt(agent, folder).why("growing.txt")
        assert path.read_text() == "half"
    assert adopt(agent, folder).summary["adopted"] == 1


def test_a_file_with_other_names_is_copied_for_these_could_change_it(
    agent: Agent, folder: Path
) -> None:
    other = agent.home / "other-name.txt"
    other.write_text("linked")
    os.link(other, folder / "a.txt")
    said = adopt(agent, folder, "--move")
    assert "hard links" in said.why("a.txt")
    run = adopt(agent, folder)
    assert run.files["a.txt"]["how"] == "copy"
    other.write_text("changed")
    assert stored(agent, run.files["a.txt"]).read_text() == "linked"


def test_content_that_does_not_fit_its_name_is_left(agent: Agent, folder: Path) -> None:
    (folder / "photo.png").write_text("<!doctype html><script>1</script>")
    assert "HTML page" in adopt(agent, folder).why("photo.png")
    assert (folder / "photo.png").exists()


def test_other_peoples_files_become_the_nodes_own_with_its_modes(
    agent: Agent, folder: Path
) -> None:
    path = folder / "a.txt"
    path.write_text("x")
    os.chown(path, 12345, 12345)
    path.chmod(0o6777)
    found = stored(agent, adopt(agent, folder).files["a.txt"]).stat()
    assert (found.st_uid, found.st_gid) == (os.getuid(), os.getgid())
    assert found.st_mode & 0o7777 == 0o644


@pytest.fixture
def others_node() -> Iterator[Agent]:
    """A node whose user isn't root, as on every machine that was provisioned."""
    # Not below the tests' own folder, which is root's alone.
    place = Path(tempfile.mkdtemp(prefix="portside-adoption-"))
    try:
        place.chmod(0o755)
        (place / "home").mkdir()
        made = Agent(place / "home")
        for each in (made.root, *made.root.rglob("*")):
            os.chown(each, AGENT_USER, AGENT_USER)
        yield made
    finally:
        shutil.rmtree(place)


@pytest.mark.parametrize("way", ["--move", "--copy"])
def test_as_root_it_reads_what_others_keep_to_themselves_and_stores_as_the_agents_user(
    others_node: Agent, way: str
) -> None:
    folder = others_node.home / "old"
    folder.mkdir(mode=0o700)
    (folder / "a.txt").write_text("secret")
    (folder / "a.txt").chmod(0o600)
    for each in (folder, folder / "a.txt"):
        os.chown(each, AGENT_USER + 1, AGENT_USER + 1)
    run = adopt(others_node, folder, way)
    assert (run.code, run.summary["adopted"]) == (0, 1), run
    assert stored(others_node, run.files["a.txt"]).read_text() == "secret"
    made = [each for each in others_node.root.rglob("*") if each.name != ".portside-root"]
    assert {each.stat().st_uid for each in made} == {AGENT_USER}, "root's own lie among them"
    assert (folder / "a.txt").exists() == (way == "--copy")


def test_who_is_not_root_is_told_what_it_takes(others_node: Agent) -> None:
    folder = others_node.home / "old"
    folder.mkdir()
    (folder / "a.txt").write_text("others'")
    by = order(others_node)
    os.chown(by, AGENT_USER, AGENT_USER)
    arguments = (*arguments_for(others_node, folder, "--json", by=by), "--config")
    said = others_node.home / "said"
    child = os.fork()
    if child == 0:
        # No new program: the tests' Python may be root's alone.
        try:
            os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 1)
            os.setgroups([])
            os.setgid(AGENT_USER)
            os.setuid(AGENT_USER)
            sys.argv = ["portside-agent", *arguments, str(others_node.home / "agent.toml")]
            sys.stdout = os.fdopen(1, "w")
            cli.main()
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.waitpid(child, 0)
    assert "belongs to user 0: run this as root, or have it copied" in said.read_text()
    assert (folder / "a.txt").stat().st_uid == 0


def test_a_held_namespaces_files_are_held(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(settings={"held": [NAMESPACE]})
    folder = agent.home / "old"
    folder.mkdir()
    (folder / "a.txt").write_text("x")
    said = adopt(agent, folder).files["a.txt"]
    assert attributes(agent, said)["held"] is True
    assert stored(agent, said).stat().st_mode & 0o777 == 0o600


def test_a_dry_run_says_what_would_be_and_changes_nothing(agent: Agent, folder: Path) -> None:
    (folder / "a b.txt").write_text("x")
    (folder / "bad.html").write_text("x")
    before = (folder / "a b.txt").stat()
    run = adopt(agent, folder, "--dry-run")
    said = run.files["a b.txt"]
    assert (said["result"], said["name"], said["how"]) == ("would-be", "a_b.txt", "move")
    assert run.files["bad.html"]["result"] == "left"
    after = (folder / "a b.txt").stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert agent.visible_files() == []


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"aud": "s02"}, "token is for node 's02'"),
        ({"exp": 1}, "expired"),
        ({"namespace": "other"}, "order is for namespace 'other'"),
        ({"owner": "bob"}, "owner 'bob'"),
    ],
)
def test_an_order_for_something_else_adopts_nothing(
    agent: Agent, folder: Path, changed: dict[str, Any], why: str
) -> None:
    (folder / "a.txt").write_text("x")
    run = adopt(agent, folder, by=order(agent, **changed))
    assert (run.code, run.files) == (1, {})
    assert why in run.err
    assert (folder / "a.txt").exists()


def test_a_nodes_own_key_orders_nothing_nor_does_an_upload_token(
    agent: Agent, folder: Path
) -> None:
    (folder / "a.txt").write_text("x")
    stranger = order(agent, SigningKey.generate("lab"))
    own = order(agent, agent.node_key)
    upload = order(agent)
    upload.write_text(agent.mint())
    for by in (stranger, own, upload):
        assert "the order is not taken" in adopt(agent, folder, by=by).err
    assert (folder / "a.txt").exists()


def test_an_order_that_others_may_read_is_refused(agent: Agent, folder: Path) -> None:
    path = order(agent)
    path.chmod(0o644)
    assert "chmod 600" in adopt(agent, folder, by=path).err


def test_an_order_that_was_revoked_stores_no_more(agent: Agent, folder: Path) -> None:
    (folder / "a.txt").write_text("x")
    by = order(agent, jti="j" * 20)
    assert agent.command("revoke", "j" * 20).returncode == 0
    run = adopt(agent, folder, by=by)
    assert (run.code, run.summary["adopted"]) == (3, 0)
    assert "revoked" in run.err


def test_the_orders_quota_holds(agent: Agent, folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_text("x" * 10)
    run = adopt(agent, folder, by=order(agent, quota={"bytes": 25}))
    assert (run.summary["adopted"], run.summary["left"]) == (2, 1)
    assert "may have 25 B" in run.why("2.txt")


def test_the_nodes_own_folders_are_no_other_systems(agent: Agent) -> None:
    run = adopt(agent, agent.root / "uploads")
    assert (run.code, "the node's own" in run.err) == (1, True)
    # Above them they are gone around.
    found = adopt(agent, agent.root, "--dry-run")
    assert "the node's own folder" in found.why("uploads")
    assert not any(each.startswith("uploads/") for each in found.files)


def test_an_index_that_is_gone_is_not_taken_for_an_empty_one(agent: Agent, folder: Path) -> None:
    (folder / "a.txt").write_text("x")
    assert adopt(agent, folder).code == 0
    for each in (agent.root / "state").glob("index.sqlite*"):
        each.unlink()
    (folder / "b.txt").write_text("y")
    again = adopt(agent, folder)
    assert again.code == 1
    assert "reindex" in again.err
    assert not (agent.root / "state" / "index.sqlite").exists()
    assert (folder / "b.txt").exists()


def test_of_an_upload_that_was_cut_short_hooks_hear_although_a_run_finishes_it(
    agent: Agent, folder: Path
) -> None:
    add_hooks(agent, Hook(namespace="*", url="http://127.0.0.1:9/"))
    node = Node(agent)
    node.index.begin(node.intent("cut.bin", b"2"))
    (folder / "a.txt").write_text("x")
    said = adopt(agent, folder).files["a.txt"]
    told = node.database.rows("SELECT file_id FROM deliveries")
    assert len(told) == 1
    assert told != [(said["file_id"],)], "hooks heard of the adopted one"


def test_one_run_at_a_time(agent: Agent, folder: Path) -> None:
    with (agent.root / "state" / "adoption.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "being adopted on this node already" in adopt(agent, folder).err


def test_plain_lines_name_what_was_left_and_sum_up(agent: Agent, folder: Path) -> None:
    (folder / "a.txt").write_text("x")
    (folder / "b.weird").write_text("x")
    done = agent.command(*arguments_for(agent, folder))
    assert done.returncode == 1
    assert done.stdout.startswith("b.weird: left: files ending in .weird are not taken")
    assert done.stdout.count("\n") == 1
    assert "1 files adopted, 0 were stored already (1 B), 1 left" in done.stderr
