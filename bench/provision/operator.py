"""What an operator does with our side of it: a cluster file, one command, one upload."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.provision import machines
from lab.machines import CLONE

_DEPLOY = (sys.executable, "-m", "pyinfra", "inventory", "deploys/site.py", "-y")


class DeployFailed(Exception):
    """A command of ours failed, or changed what it should have left; with what it said."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Someone's folder. `ssh_config` is how their machines are reached."""

    folder: Path
    ssh_config: Path

    @property
    def cluster(self) -> Path:
        """The cluster file: one for each way to the same machines."""
        return self.folder / f"{self.ssh_config.stem}.yaml"

    def begin(self) -> None:
        """Write the cluster file; make keys, where there are none."""
        nodes = ", ".join(f"{name}: {{}}" for name in machines.NODES)
        self.cluster.write_text(
            f"name: provision\ndomain: {machines.DOMAIN}\n"
            f"ssh: {{config: {self.ssh_config}, host_keys: accept-new}}\n"
            "roles: {storage: '^s\\d+$', control: '^c\\d+$'}\n"
            f"nodes: {{{nodes}}}\nuploads: {{max_size: 1GiB}}\ntls: {{mode: lab}}\n"
        )
        self._portside("keys", "init")

    def deploy(self, *arguments: str) -> None:
        """One run over the nodes. Raises DeployFailed."""
        self._run(*_DEPLOY, *arguments)

    def deploy_again(self) -> None:
        """A run that has nothing to change. Raises DeployFailed if it changes something."""
        said = self._run(*_DEPLOY, "--json")
        operations = json.loads(said)["results"]["operations"]
        changed = [each["name"] for each in operations if each["success"] or each["error"]]
        if changed:
            raise DeployFailed(f"the run changed something: {', '.join(changed)}")

    def upload(self, node_id: str) -> None:
        """A small file to a node, its receipt checked. Raises DeployFailed."""
        file = self.folder / "first.txt"
        file.write_text("first\n")
        self._portside("put", "--node", node_id, str(file))

    def _portside(self, *words: str) -> None:
        self._run(str(Path(sys.executable).with_name("portside")), *words)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=CLONE,
            env={
                **os.environ,
                "PORTSIDE_CLUSTER": str(self.cluster),
                "PORTSIDE_SECRETS": str(self.folder / "secrets"),
                "PYTHONPATH": str(CLONE),
                "PYINFRA_PROGRESS": "off",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise DeployFailed(f"{' '.join(words)}:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout
