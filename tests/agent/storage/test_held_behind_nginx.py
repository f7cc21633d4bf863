"""nginx serves what it may read: a held file is closed to the user that it really runs as."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from deploys import layout
from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.agent.process import Agent
from tests.support.agent.stored_files import access, data_of, stored
from tests.support.cluster_files import CLUSTER
from tests.support.nginx_process import Nginx


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everybody may pass, as the data filesystem's is: pytest's are for one user."""
    folder = Path(tempfile.mkdtemp(prefix="portside-nginx-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def node(home: Path, tmp_path: Path) -> Iterator[tuple[Agent, Nginx]]:
    machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
    found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
    storage = StorageNode("s01", parse(CLUSTER), found, sizing.size(machine), "root")
    path = nginx_process.write(configuration(storage), home)
    path.write_text(path.read_text().replace("user root;", f"user {layout.NGINX_USER};"))
    agent = Agent(tmp_path, root=home / "data", socket_path=home / "agent.sock")
    agent.start()
    agent.socket_path.chmod(0o777)
    nginx = Nginx(path)
    yield agent, nginx
    nginx.stop()
    agent.kill()


def test_nginx_cant_open_what_is_held_and_serves_it_once_it_is_released(
    node: tuple[Agent, Nginx],
) -> None:
    agent, nginx = node
    file = stored(agent, "a.bin", b"content")
    ways = {
        # nginx by itself, and where the agent tells it to.
        f"/uploads/{file.path}",
        f"/api/v1/files/{file.file_id}/content",
        f"/f/{file.file_id}",
    }

    def change(way: str) -> None:
        url = f"{agent.url}/api/v1/files/{file.file_id}/{way}"
        answer = requests.post(url, headers=access(agent, rights=("hold",)), timeout=60)
        assert answer.status_code == 200

    def answers() -> dict[str, tuple[int, bool]]:
        found = {way: nginx.ask("GET", way) for way in ways}
        return {way: (each.status, body == b"content") for way, (each, body) in found.items()}

    assert answers() == dict.fromkeys(ways, (200, True))
    change("hold")
    assert answers() == dict.fromkeys(ways, (403, False))
    _, body = nginx.ask("GET", f"/uploads/{file.path}")
    assert b"being-checked" in body
    # Whatever was decided a moment before: its user can't open the file.
    opening = ["runuser", "-u", layout.NGINX_USER, "--", "cat", str(data_of(agent, file))]
    refused = subprocess.run(opening, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Permission denied" in refused.stderr
    change("release")
    assert answers() == dict.fromkeys(ways, (200, True))
