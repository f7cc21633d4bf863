"""A control node for backups, and systemd's part in putting one in place."""

from __future__ import annotations

from pathlib import Path

import pytest

from operate.backup import restoring
from operate.site import Site
from tests.support.control_node_by_ssh import ControlNode

_SYSTEMD = {
    "systemctl": "#!/bin/sh\necho inactive\n",
    "systemd-run": '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n',
}
"""A unit that isn't running, and one that is waited for: where tests run there is no systemd."""


@pytest.fixture
def node(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlNode:
    return ControlNode(tmp_path / "node", site, monkeypatch)


@pytest.fixture
def restorable(node: ControlNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ControlNode:
    """A control node without services, so that nothing has to be stopped and started."""
    program = tmp_path / "putting_in_place.sh"
    for name, text in _SYSTEMD.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    program.write_text(f"PATH={tmp_path}/bin:$PATH\n{restoring._PROGRAM.read_text()}")
    monkeypatch.setattr(restoring, "_PROGRAM", program)
    monkeypatch.setattr(restoring, "_HEARTBEATS", 0)
    command = node.backup.read_text()
    assert command.count('["systemctl", ') == 2
    node.backup.write_text(command.replace('["systemctl", ', '["true", '))
    return node
