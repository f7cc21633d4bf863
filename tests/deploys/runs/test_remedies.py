"""What to do is said for each kind of trouble that nodes are known for, in their own words."""

from __future__ import annotations

import logging

import pytest
from pyinfra.context import ctx_host

from deploys.runs.complaints import Complaints
from deploys.runs.remedies import LONGEST, explain


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("cp: error writing '/opt/portside/releases/.c6.tar': No space left on device", "df -h"),
        ("E: You don't have enough free space in /var/cache/apt/archives/.", "df -h"),
        ("touch: cannot touch '/etc/x': Read-only file system", "dmesg"),
        ("E: Release file for http://m/ is not valid yet (invalid for another 3h)", "date -u"),
        ("Err:1 http://deb.debian.org bookworm Temporary failure resolving 'd'", "resolv.conf"),
        ("E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by 7", "another apt"),
        ("E: The repository 'cdrom://[Debian] stable Release' does not have a Release file.", "CD"),
        ("E: Unable to locate package nftables", "sources.list"),
        ("E: Failed to fetch http://m/a.deb 404 Not Found", "apt-get update"),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", "dpkg --configure -a"),
        ("Authentication error (username=ops)", "ssh.key"),
        (
            "SSH error (Host key for server 's01' does not match: got 'x')",
            "portside keys forget NODE",
        ),
        ("Could not resolve hostname ([Errno -2] Name or service not known)", "DNS"),
        ("Could not connect ([Errno None] Unable to connect to port 22 on 10.0.3.9)", "is it up"),
        ("Could not connect (timed out)", "is it up"),
        ("Command socket/SSH error: SSHException('SSH session not active',)", "is back"),
        ("Command socket/SSH error: ConnectionError('Unable to establish SFTP')", "Subsystem sftp"),
    ],
)
def test_known_trouble_has_a_remedy(said: str, remedy: str) -> None:
    line, found = explain(["Unpacking nginx ...", said, "Error: executed 1 commands"])
    assert line == said
    assert found is not None
    assert remedy in found


def test_unknown_trouble_is_told_in_its_own_last_words() -> None:
    assert explain(["first", "nft: syntax error", "Error: executed 0 commands"]) == (
        "nft: syntax error",
        None,
    )
    assert explain(["bash: warning: setlocale: LC_ALL: cannot change locale (xx)"])[0] == (
        "it failed without a word"
    )


def test_a_page_is_no_line() -> None:
    line, _ = explain(["words " * 500])
    assert len(line) == LONGEST


def test_what_is_said_of_a_host_is_heard_with_or_without_its_name() -> None:
    complaints = Complaints()

    class Here:
        name = "s02"

    def log(text: str) -> None:
        complaints.emit(logging.LogRecord("pyinfra", logging.ERROR, "", 0, text, None, None))

    log("\x1b[1m[s01]\x1b[0m   \x1b[31mno such file\x1b[0m")
    with ctx_host.use(Here()):
        log("File upload error: warning\ncp: no space")
    with ctx_host.use(None):
        log("of nobody")
    assert complaints.by_host == {
        "s01": ["no such file"],
        "s02": ["File upload error: warning", "cp: no space"],
    }
