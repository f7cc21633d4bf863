"""`fab` as an operator types it, from the project's folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploys.layout import PROJECT_ROOT
from portside.cluster.file import CLUSTER_VARIABLE

FAB = Path(sys.executable).with_name("fab")


def fab(cluster: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What it says of this cluster, and how it ends."""
    return subprocess.run(
        [FAB, *words],
        cwd=PROJECT_ROOT,
        env={**os.environ, CLUSTER_VARIABLE: str(cluster)},
        capture_output=True,
        text=True,
        check=False,
    )


def done(cluster: Path, *words: str) -> str:
    """What a verb says that succeeds."""
    ran = fab(cluster, *words)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout
