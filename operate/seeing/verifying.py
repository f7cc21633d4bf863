"""`fab verify`: the project's own tests of a deployed node, run against any cluster.

They are testinfra's, in tests/verify/: what they need is what `make check` installs. Nothing is
changed on a node but for one small file that is uploaded to each and deleted again.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from operate import nodes
from operate.site import Refused, Site
from operate.tell import Tell
from portside.cluster.file import CLUSTER_VARIABLE

SUITE = "tests/verify"
NODES_VARIABLE = "PORTSIDE_VERIFY"
"""The ids of the nodes that are meant, with commas between them."""

_FAILED = 1
"""pytest's exit code where it ran and a test failed; above that it didn't run."""


def verify(site: Site, node_ids: Sequence[str], tell: Tell) -> bool:
    """Run the suite against these nodes. Whether all of it passed. Raises Refused where it can't be
    run at all."""
    if importlib.util.find_spec("testinfra") is None:
        raise Refused("pytest-testinfra is not installed here: `make check` brings what it needs")
    answers = nodes.ask(site, node_ids, ["true"])
    unreached = [each.trouble for each in answers.values() if not each.ok]
    for trouble in unreached:
        tell.warn(f"{trouble}; not tested")
    node_ids = [node_id for node_id, each in answers.items() if each.ok]
    if not node_ids:
        raise Refused("no node can be reached: nothing was tested")
    with tempfile.TemporaryDirectory(prefix="portside-") as folder:
        report = Path(folder, "report.xml")
        # A line for each that fails: what it found, and where that is written.
        shown = ("-q", "--tb=line", "-p", "no:cacheprovider")
        words = (sys.executable, "-m", "pytest", *shown, SUITE)
        done = subprocess.run(
            [*words, f"--junit-xml={report}"],
            cwd=site.root,
            env={
                **os.environ,
                CLUSTER_VARIABLE: str(site.path.absolute()),
                NODES_VARIABLE: ",".join(node_ids),
            },
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr if tell.as_json else None,
            check=False,
        )
        if done.returncode > _FAILED:
            raise Refused(f"the tests didn't run to their end (pytest's code {done.returncode})")
        tell.result({**_read(report), "unreached": unreached})
    return done.returncode == 0 and not unreached


def _read(report: Path) -> dict[str, object]:
    """Each test and what became of it, from pytest's report (JUnit's XML), which is our own."""
    cases = ElementTree.parse(report).iter("testcase")  # noqa: S314
    outcomes = {
        str(case.get("name")): next(
            (str(each.get("message")) for each in case if each.tag in ("failure", "error")), None
        )
        for case in cases
    }
    return {"passed": not any(outcomes.values()), "tests": outcomes}
