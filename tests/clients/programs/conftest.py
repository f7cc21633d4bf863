"""What the programs find around them: a place for what they save, and whom they trust."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clients.programs import Program
from tests.support.protocol.nodes import Node

MakeProgram = Callable[..., Program]


@pytest.fixture
def environment(node: Node) -> dict[str, str]:
    """As people's own, with the node's CA among those that are trusted."""
    ca = str(node.ca)
    return {
        **os.environ,
        "LC_ALL": "C.UTF-8",
        "CURL_CA_BUNDLE": ca,
        "REQUESTS_CA_BUNDLE": ca,
        "SSL_CERT_FILE": ca,
    }


@pytest.fixture
def program(environment: dict[str, str], tmp_path: Path) -> MakeProgram:
    """A program that sends requests: the words of its command."""
    return lambda *command: Program(command, tmp_path, environment)
