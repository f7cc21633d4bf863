"""Deploys run by verbs: pyinfra as a program, with its own output for the operator.

Another process, because pyinfra's runs own their process: they patch it for gevent and end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from operate.site import Refused, Site
from operate.tell import Tell
from portside.cluster.file import CLUSTER_VARIABLE

INTERRUPTED = 130


def deploy(
    site: Site,
    name: str,
    tell: Tell,
    *,
    limit: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    dry: bool = False,
) -> int:
    """Run `deploys/<name>.py`, on all nodes or those of `limit`; pyinfra's exit code.

    `data` is told to the deploy (`--data`): never a secret, for every user sees process lists. With
    `dry` it says what it would change. Raises KeyboardInterrupt where the run was interrupted.
    """
    words = [
        str(Path(sys.executable).with_name("pyinfra")),
        "inventory",
        f"deploys/{name}.py",
        "--dry" if dry else "-y",
        *(word for node_id in limit for word in ("--limit", node_id)),
        *(word for key, value in (data or {}).items() for word in ("--data", f"{key}={value}")),
    ]
    with subprocess.Popen(
        words,
        cwd=site.root,
        env={**os.environ, CLUSTER_VARIABLE: str(site.path.absolute())},
        stdin=subprocess.DEVNULL,
        # What a program reads is the verb's own result.
        stdout=sys.stderr if tell.as_json else None,
    ) as running:
        try:
            code = running.wait()
        except KeyboardInterrupt:
            # It has heard that too, says what it left, and tells each node how it ended.
            running.wait()
            raise
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return code


def deployed(
    site: Site,
    name: str,
    tell: Tell,
    *,
    limit: Sequence[str] = (),
    data: Mapping[str, str] | None = None,
    dry: bool = False,
) -> None:
    """The same, for a run without which the verb can't go on. Raises Refused when it failed."""
    code = deploy(site, name, tell, limit=limit, data=data, dry=dry)
    if code:
        where = ", ".join(limit) or "some nodes"
        raise Refused(
            f"deploys/{name}.py failed on {where} (exit code {code}): what it said above is to be "
            "mended; then the same command goes on from there"
        )
