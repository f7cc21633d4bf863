"""What the programs find around them: a place for what they save, and whom they trust."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.clients.programs import PROGRAMS, MakeProgram, Program
from tests.support.protocol.nodes import Node


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


@pytest.fixture(scope="session")
def java(node: Node, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command that takes a class of the Java programs; it trusts the node's CA."""
    folder = tmp_path_factory.mktemp("java")
    store = folder / "store.p12"
    sources = [str(path) for path in sorted(PROGRAMS.glob("*.java"))]
    subprocess.run(["javac", "-d", str(folder), *sources], check=True)
    words = ["-importcert", "-noprompt", "-file", str(node.ca), "-keystore", str(store)]
    subprocess.run(["keytool", *words, "-storepass", "changeit"], check=True, capture_output=True)
    trust = {"trustStore": store, "trustStorePassword": "changeit"}
    options = [f"-Djavax.net.ssl.{name}={value}" for name, value in trust.items()]
    # A short-lived program starts in half the time without the compiler that pays off later.
    return ["java", "-XX:TieredStopAtLevel=1", *options, "-cp", str(folder)]
