"""On a disk without a free byte or inode files are deleted, agents start, uploads are refused."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from agent.storage.deletion import remove_copy
from agent.storage.quarantine import quarantine
from agent.storage.reserve import PIECES, Reserve
from agent.storage.staging import DiskFull
from faults.causing.hog import Hog, Resource
from portside.quantities import MIB
from portside.wire.files import StoredFile
from tests.support.agent.damage import Node
from tests.support.agent.interruption import injected
from tests.support.agent.process import Agent, slug_of
from tests.support.agent.stored_files import access, ask, data_of, flip_a_bit, stored
from tests.support.agent.worker_process import Worker

FILESYSTEMS = {
    # mkfs.ext4 makes blocks of 1 KiB on so small a disk: harder than 4.
    "ext4": ("mkfs.ext4", "-q", "-m", "0", "-N", "400"),
    "xfs": ("mkfs.xfs", "-q"),
}
SIZES = {"ext4": 64 * MIB, "xfs": 300 * MIB}


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small filesystem of the kind that the test asks for."""
    kind, image, root = request.param, tmp_path / "disk.img", tmp_path / "disk"
    root.mkdir()
    with image.open("wb") as file:
        file.truncate(SIZES[kind])
    subprocess.run([*FILESYSTEMS[kind], str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(root)], check=True)
    yield root
    subprocess.run(["umount", "--lazy", str(root)], check=True)


def _delete(agent: Agent, file: StoredFile) -> int:
    rights = access(agent, rights=("delete",))
    return ask(agent, "DELETE", f"/{file.file_id}", rights).status_code


def _delete_all(agent: Agent, hog: Hog, files: list[StoredFile]) -> None:
    for file in files:
        hog.take()
        assert _delete(agent, file) == 204


def _stop(agent: Agent) -> None:
    agent.process.send_signal(signal.SIGTERM)
    assert agent.process.wait(timeout=60) == 0


def _refusals(agent: Agent) -> list[tuple[int, str]]:
    """Uploads in each dialect; what is said of them."""
    url, token = f"{agent.url}/api/v1/uploads", {"Authorization": f"Bearer {agent.mint()}"}
    tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "9", "Upload-Metadata": "filename YS5iaW4="}
    ietf = {
        "Upload-Complete": "?0",
        "Upload-Length": "9",
        "Content-Disposition": 'attachment; filename="a.bin"',
    }
    answers = [
        agent.put("a.bin", b"x"),
        agent.post("a.bin", b"x"),
        *(requests.post(url, headers=token | each, timeout=60) for each in (tus, ietf)),
    ]
    return [(answer.status_code, slug_of(answer)) for answer in answers]


@pytest.mark.parametrize(
    ("mounted", "resource"),
    [("ext4", "bytes"), ("ext4", "inodes"), ("xfs", "bytes")],
    indirect=["mounted"],
)
def test_a_full_disk_is_deleted_from_and_started_on_and_takes_uploads_once_there_is_room(
    make_agent: Callable[..., Agent], mounted: Path, resource: Resource
) -> None:
    agent, hog = make_agent(root=mounted), Hog(mounted, resource)
    agent.start()
    files = [stored(agent, f"{number}.bin", bytes(3000)) for number in range(9)]
    hog.move_in()
    hog.take()
    assert _refusals(agent) == [(507, "no-space")] * 4
    (shortage,) = agent.status()["shortages"]
    ready = requests.get(f"{agent.url}/health/ready", timeout=60)
    assert (ready.status_code, shortage in ready.json()["warnings"]) == (200, True)
    _delete_all(agent, hog, files[:3])
    # A clean end takes the index's log away: the next start has to make it on a full disk.
    for end, some in ((agent.kill, files[3:6]), (partial(_stop, agent), files[6:])):
        end()
        hog.take()
        agent.start()
        _delete_all(agent, hog, some)
    assert agent.visible_files() == []
    assert list((mounted / "staging").iterdir()) == []
    hog.move_out()
    assert agent.status()["shortages"] == []
    stored(agent, "again.bin", bytes(3000))


@pytest.mark.parametrize("mounted", ["ext4"], indirect=True)
def test_the_worker_works_on_a_full_disk_and_holds_the_reserve_again_afterwards(
    make_agent: Callable[..., Agent], mounted: Path
) -> None:
    agent, hog = make_agent(root=mounted), Hog(mounted, "bytes")
    agent.start()
    damaged = stored(agent, "a.bin", bytes(3000))
    flip_a_bit(data_of(agent, damaged))
    worker = Worker(agent)
    try:
        worker.start()
        worker.stop()
        hog.move_in()
        hog.take()
        # Quarantined by the scrubber, reported over the last report.
        worker.start()
        worker.wait_for(lambda: worker.report().scrub.quarantined == 1)
        assert _delete(agent, damaged) == 204
        hog.move_out()
        worker.stop()
        worker.start()
        reserve = mounted / "state" / "reserve"
        assert len(list(reserve.iterdir())) == PIECES
    finally:
        worker.kill()


@pytest.mark.parametrize("mounted", ["ext4"], indirect=True)
def test_what_others_order_and_undone_commits_go_on_full_disks_too(
    make_agent: Callable[..., Agent], mounted: Path
) -> None:
    node = Node(make_agent(root=mounted))
    node.database.hold_room()
    Reserve(node.settings).refill()
    hog = Hog(mounted, "inodes")
    drained, damaged = (node.commit(name, b"x") for name in ("a.bin", "b.bin"))
    cut = node.intent("c.bin", b"x", namespace="elsewhere")
    hog.move_in()
    hog.take()
    assert remove_copy(node.settings, node.database, drained.file_id)
    hog.take()
    quarantine(node.settings, node.database, damaged.file_id, "a flipped bit")
    hog.take()
    # Its folders find no inode. Its name and its token are free again.
    with pytest.raises(DiskFull):
        node.committer.commit(cut)
    assert node.index.pending() == []
    left = [path for path in (mounted / "uploads").rglob("*") if path.is_file()]
    assert left == []
    assert node.index.path_taken(drained.path) is False


@pytest.mark.parametrize("mounted", ["ext4"], indirect=True)
def test_the_index_has_room_of_its_own(make_agent: Callable[..., Agent], mounted: Path) -> None:
    node = Node(make_agent(root=mounted))
    assert node.database.hold_room()
    hog = Hog(mounted, "bytes")
    hog.move_in()
    hog.take()
    # 14 MB of log, which has 8 MiB: it is written back on the way, into a file that grows.
    for number in range(320):
        node.database.take_note(f"note-{number % 10}", f"{number:08}" * 5_000)
    assert list((mounted / "state").glob("reserve/*")) == []


def test_a_quota_that_is_used_up_is_no_broken_disk(agent: Agent) -> None:
    file = stored(agent, "a.bin", b"x")
    # Of the index SQLite says "disk I/O error" then, as of a broken disk.
    with injected(agent, "pwrite64:error=EDQUOT"):
        refused = requests.delete(
            f"{agent.url}/api/v1/files/{file.file_id}", headers=access(agent), timeout=60
        )
    assert (refused.status_code, slug_of(refused)) == (507, "no-space")
    assert agent.status()["reasons"] == []
    assert _delete(agent, file) == 204
