"""fsck finds every kind of damage, mends it without removing a byte, and disturbs nobody."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agent.integrity.diagnosis import Finding, Kind
from agent.integrity.fsck import Fsck
from agent.integrity.fsck_areas import Orders
from agent.storage.deletion import delete
from agent.storage.quarantine import Kept, finish_quarantines, quarantine
from bench import committed_files
from portside.quantities import KIB
from portside.wire.files import StoredFile
from tests.support.agent.damage import DAMAGES, Damage, Node
from tests.support.agent.process import Agent, first_line
from tests.support.memory import peak_memory

OLD_ENOUGH = ("--minimum-age", "0")


def fsck(agent: Agent, *options: str) -> subprocess.CompletedProcess[str]:
    return agent.command("fsck", *options)


def look(node: Node, digests: bool = True) -> list[Finding]:
    orders = Orders(digests=digests, minimum_age=0)
    return list(Fsck(node.settings, node.database, orders).run())


def mend(node: Node, digests: bool = True) -> list[Finding]:
    orders = Orders(digests=digests, minimum_age=0)
    return list(Fsck(node.settings, node.database, orders, node.committer).run())


def findings_of(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert "summary" in lines[-1], done.stderr
    return lines[:-1]


def tree(root: Path) -> dict[str, bytes | None]:
    """Every name below the root but the index's, and what is in the files."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else None
        for path in sorted(root.rglob("*"))
        if "state" not in path.parts
    }


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose agent works beside every test, and which every test leaves clean."""
    agent = Agent(tmp_path_factory.mktemp("fsck"))
    agent.start()
    yield Node(agent)
    agent.kill()


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda each: each.name)
def test_a_damage_is_reported_then_mended_then_gone(node: Node, damage: Damage) -> None:
    agent = node.agent
    content = {name: os.urandom(5000) for name in ("a.bin", "hurt.bin")}
    unhurt, hurt = (
        StoredFile.model_validate(agent.put(name, data).json()) for name, data in content.items()
    )
    damage.do(node, hurt)
    before = tree(agent.root)

    looked = look(node, digests=damage.needs_digests)
    assert {each.kind for each in looked} == {damage.kind}
    assert tree(agent.root) == before

    mended = mend(node, digests=damage.needs_digests)
    assert [(each.kind, each.path) for each in mended] == [(e.kind, e.path) for e in looked]
    assert all(each.done for each in mended)

    assert look(node) == []
    assert (agent.root / "uploads" / unhurt.path).read_bytes() == content["a.bin"]
    if damage.survives:
        assert node.data(hurt).read_bytes() == content["hurt.bin"]
        assert node.attributes(hurt).stored() == hurt
    else:
        assert not node.data(hurt).exists()
        answer = requests.get(f"{agent.url}/api/v1/files/{hurt.file_id}", timeout=60)
        assert answer.status_code != 200
    if damage.keeps_bytes:
        assert content["hurt.bin"] in tree(agent.root).values()


def test_a_loss_is_said_loudly_and_what_was_known_is_kept(node: Node) -> None:
    lost = node.commit("lost.bin", b"precious")
    node.data(lost).unlink()
    node.beside(lost).unlink()
    done = fsck(node.agent, *OLD_ENOUGH, "--repair")
    assert done.returncode == 2
    assert f"LOST: uploads/{lost.path}: ITS DATA IS GONE" in done.stdout
    assert "1 LOST OR DAMAGED" in done.stdout.splitlines()[-1]
    notes = [json.loads(path.read_text()) for path in node.settings.quarantine.glob("*.why.json")]
    kept = next(note for note in notes if note["file_id"] == lost.file_id)
    assert kept["row"]["sha256"] == lost.sha256


@pytest.mark.parametrize(
    ("kind", "code"), [(Kind.WITHOUT_ROW, 1), (Kind.BAD_ATTRIBUTES, 1), (Kind.SIZE_MISMATCH, 2)]
)
def test_the_exit_code_says_how_bad_it_is(node: Node, kind: Kind, code: int) -> None:
    damage = next(each for each in DAMAGES if each.kind is kind)
    damage.do(node, node.commit("hurt.bin", os.urandom(100)))
    looked = fsck(node.agent, *OLD_ENOUGH, "--json")
    assert [each["done"] for each in findings_of(looked)] == [None]
    mended = fsck(node.agent, *OLD_ENOUGH, "--json", "--repair")
    assert [each["kind"] for each in findings_of(mended)] == [kind.label]
    assert (looked.returncode, mended.returncode) == (code, code)
    again = fsck(node.agent, *OLD_ENOUGH)
    assert (again.returncode, again.stdout.split("; ")[1].strip()) == (0, "clean")


def test_foreign_files_are_told_and_never_touched(node: Node) -> None:
    uploads = node.settings.uploads
    foreign = [
        uploads / "by-hand.txt",
        uploads / "isos" / "notes" / "a.txt",
        uploads / "isos" / ".hidden",
        uploads / "isos" / "two\nlines",
        uploads / "Not A Namespace" / "a.bin",
        uploads / "isos" / ".attr.json",
        node.settings.staging / "by-hand",
        node.settings.quarantine / "by-hand",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"mine")
    link = uploads / "isos" / "link.bin"
    link.symlink_to(foreign[0])
    pipe = uploads / "isos" / "pipe.attr.json"
    os.mkfifo(pipe)
    strange = os.fsencode(uploads / "isos") + b"/\xff.bin"
    Path(os.fsdecode(strange)).write_bytes(b"mine")
    try:
        done = fsck(node.agent, *OLD_ENOUGH, "--json", "--repair", "--digests")
        assert done.returncode == 0, done.stdout
        assert Counter(each["kind"] for each in findings_of(done)) == {Kind.FOREIGN.label: 11}
        assert [path.read_bytes() for path in foreign] == [b"mine"] * len(foreign)
        assert link.is_symlink()
        people = fsck(node.agent, *OLD_ENOUGH)
        assert len(people.stdout.splitlines()) == 12
    finally:
        for path in (*foreign, link, pipe, Path(os.fsdecode(strange))):
            path.unlink()


def test_what_changed_within_the_last_minute_is_left_alone(node: Node) -> None:
    for damage in DAMAGES:
        file = node.commit("young.bin", os.urandom(100))
        if damage.kind in _YOUNG:
            damage.do(node, file)
    try:
        assert findings_of(fsck(node.agent, "--json", "--repair")) == []
    finally:
        mend(node)


_YOUNG = {
    Kind.BAD_ATTRIBUTES,
    Kind.CONFLICT,
    Kind.CUT_COMMIT,
    Kind.MISPLACED,
    Kind.SIZE_MISMATCH,
    Kind.STALE_STAGING,
    Kind.UNKNOWN_DATA,
    Kind.WITHOUT_ATTRIBUTES,
    Kind.WITHOUT_ROW,
}


def test_uploads_that_are_running_are_neither_reported_nor_harmed(agent: Agent) -> None:
    slow = agent.open_put("slow.bin", 5)
    agent.wait_for_uploads(1)
    [staged] = (agent.root / "staging").glob("*.part")
    os.utime(staged, (1, 1))
    acknowledged: dict[str, bytes] = {}
    stop = threading.Event()

    def upload() -> None:
        while not stop.is_set():
            data = os.urandom(1000)
            acknowledged[agent.put("a.bin", data).json()["path"]] = data

    uploader = threading.Thread(target=upload)
    uploader.start()
    try:
        # A commit takes milliseconds; the slow upload's file is older than this and locked.
        for options in ([], ["--repair"], ["--repair", "--digests"]):
            done = fsck(agent, "--minimum-age", "20", *options)
            assert (done.returncode, done.stdout.split("; ")[1].strip()) == (0, "clean"), (
                done.stdout
            )
        done = fsck(agent, "--json", *OLD_ENOUGH)
        assert "stale-staging" not in done.stdout
    finally:
        stop.set()
        uploader.join()
    slow.sendall(b"12345")
    assert first_line(slow).startswith(b"HTTP/1.1 201 ")
    slow.close()
    assert len(acknowledged) > 3
    for path, data in acknowledged.items():
        assert (agent.root / "uploads" / path).read_bytes() == data


def test_an_open_upload_keeps_its_staging_file(node: Node) -> None:
    name = f"{'ab' * 16}.01234567.part"
    staging = node.settings.staging / name
    staging.write_bytes(b"a part of it")
    node.sql(
        "INSERT INTO uploads (upload_id, jti, kind, state, staging, start, offset, deadline, "
        "details) VALUES ('u', 'jti-of-upload', 'whole', 'OPEN', ?, 0, 12, 9999999999, '{}')",
        name,
    )
    try:
        assert (look(node), mend(node)) == ([], [])
        assert staging.exists()
    finally:
        node.sql("DELETE FROM uploads")
        staging.unlink()


def test_what_is_in_quarantine_is_never_overwritten(node: Node) -> None:
    file = node.commit("hurt.bin", b"evidence")
    quarantine(node.settings, node.database, file.file_id, "a test")
    node.data(file).write_bytes(b"put there by hand")
    assert finish_quarantines(node.settings, node.database) == 0
    assert [each.kind for each in mend(node)] == [Kind.WITHOUT_ATTRIBUTES]
    kept = Kept.of(node.settings, file.file_id)
    assert kept.data.read_bytes() == b"evidence"
    assert kept.attributes.exists()


def test_what_somebody_changes_meanwhile_is_left_to_them(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = node.commit("a.bin", b"1")
    node.beside(file).unlink()

    def deleted_while_it_is_read(path: Path) -> str:
        delete(node.settings, node.database, file.file_id)
        return file.sha256

    monkeypatch.setattr("agent.integrity.inspection.digest_of", deleted_while_it_is_read)
    assert look(node, digests=False) == []


def test_a_folder_of_this_hour_stays(node: Node) -> None:
    file = node.commit("only.bin", b"x")
    folder = node.settings.uploads / "empty-namespace" / file.path.parent.relative_to("isos")
    folder.mkdir(parents=True)
    assert fsck(node.agent, *OLD_ENOUGH, "--repair").returncode == 0
    assert folder.is_dir()


def test_an_index_that_is_none_is_an_exit_code_of_its_own(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(anew=True)
    (agent.root / "state" / "index.sqlite").write_bytes(os.urandom(8192))
    done = fsck(agent)
    assert done.returncode == 3
    assert "portside-agent reindex" in done.stderr


def test_a_lost_index_comes_back_whole(node: Node) -> None:
    file = node.commit("a.bin", b"1")
    node.sql("DELETE FROM files")
    assert fsck(node.agent, *OLD_ENOUGH, "--repair").returncode == 1
    assert node.index.find(file.file_id) == file
    assert fsck(node.agent, *OLD_ENOUGH).returncode == 0


def test_memory_does_not_grow_with_the_number_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Many rounds with few files: what each of them leaves would be as much.
    monkeypatch.setattr("agent.integrity.fsck._BATCH", 50)
    node = Node(Agent(tmp_path))

    def check(least: int) -> None:
        fsck = Fsck(node.settings, node.database, Orders())
        assert list(fsck.run()) == []
        assert fsck.files >= least

    peaks = []
    for count in (100, 500):
        committed_files.make(node.settings, count)
        peaks.append(peak_memory(partial(check, count)))
    assert peaks[1] < peaks[0] + 64 * KIB


@pytest.fixture(scope="module")
def quiet_node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """A node without a running agent."""
    return Node(Agent(tmp_path_factory.mktemp("quiet")))


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.lists(st.sampled_from(DAMAGES), max_size=2, unique_by=lambda each: each.name),
        min_size=1,
        max_size=5,
    )
)
def test_after_any_mixture_of_damages_one_repair_is_enough(
    quiet_node: Node, mixture: list[list[Damage]]
) -> None:
    node = quiet_node
    whole: list[tuple[StoredFile, bytes]] = []
    for damages in mixture:
        data = os.urandom(200)
        file = node.commit("a.bin", data)
        for damage in damages:
            try:
                damage.do(node, file)
            except (FileNotFoundError, ValidationError):
                # An earlier damage has taken what this one would hurt.
                continue
        if not damages or (len(damages) == 1 and damages[0].survives):
            whole.append((file, data))
    mend(node)
    assert look(node) == []
    for file, data in whole:
        assert node.data(file).read_bytes() == data
        assert node.index.find(file.file_id) == file
