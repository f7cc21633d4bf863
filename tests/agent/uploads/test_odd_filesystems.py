"""On filesystems that lack something uploads are as safe, or the agent says at its start why not.

What can't be had as a filesystem here is made of one by strace: calls that say EINVAL.
"""

from __future__ import annotations

from tests.support.agent.process import Agent
from tests.support.agent.stored_files import data_of, stored
from tests.support.logs import text_of

WITHOUT_RENAME = ("-e", "inject=renameat2:error=EINVAL")


def _under(*arguments: str) -> list[str]:
    """A command to start the agent by, with some of its system calls changed."""
    return ["strace", "-f", "--seccomp-bpf", "-o", "/dev/null", *arguments]


def test_without_a_rename_that_replaces_nothing_files_are_linked_and_names_stay_taken(
    agent: Agent,
) -> None:
    agent.kill()
    agent.start(under=_under(*WITHOUT_RENAME))
    assert agent.status()["filesystem"]["lacks"] == ["noreplace-rename"]
    file = stored(agent, "a.bin", b"first", layout="named")
    assert data_of(agent, file).stat().st_nlink == 1
    taken = agent.put("a.bin", b"second", agent.mint(layout="named"))
    assert taken.status_code == 409
    assert agent.status()["reasons"] == []
    assert agent.leftovers() == []


def test_without_fsync_of_folders_uploads_go_on(agent: Agent) -> None:
    agent.kill()
    folders = [
        part
        for path in ("state/reserve", "staging", "uploads", "uploads/isos")
        for part in ("-P", str(agent.root / path))
    ]
    (agent.root / "uploads" / "isos").mkdir()
    agent.start(under=_under(*folders, "-e", "inject=fsync:error=EINVAL"))
    assert agent.status()["filesystem"]["lacks"] == ["directory-fsync"]
    stored(agent, "a.bin", b"x", layout="named")
    assert agent.status()["reasons"] == []


def test_a_filesystem_on_which_nothing_is_safe_is_refused_with_what_to_do(agent: Agent) -> None:
    agent.kill()
    agent.launch(under=_under(*WITHOUT_RENAME, "-e", "inject=linkat,link:error=EPERM"))
    assert agent.process.wait(timeout=60) != 0
    assert "use ext4 or xfs" in text_of(agent.log)
