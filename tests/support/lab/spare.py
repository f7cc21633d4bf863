"""The lab's spare machine as the only node of a cluster of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from testinfra.host import Host

from tests.support.lab.places import LAB
from tests.support.lab.requests import Node

NODE = "s04"


@dataclass(frozen=True, slots=True)
class Spare:
    """The machine, the file of the cluster that it is alone in, and the node it became."""

    host: Host
    file: Path
    node: Node


def cluster_of_one(lab: Path = LAB) -> str:
    """The lab's cluster file with this one storage node in place of the lab's own."""
    text = lab.read_text()
    for old, new in (
        ("name: lab", "name: spare"),
        ("  c01: {}\n  s01: {}\n  s02: {}\n  s03: {}\n", f"  {NODE}: {{}}\n"),
        ("factor: 2", "factor: 1"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text
