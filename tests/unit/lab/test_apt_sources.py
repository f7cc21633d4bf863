"""The mirror of this computer, and nothing but Debian, reaches the machines."""

import pytest

from lab import apt_sources
from lab.apt_sources import Source
from lab.commands import Problem

DEB822 = """\
Types: deb deb-src
# a remark
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Types: deb-src
URIs: http://mirror.example/debian
Suites: bookworm
Components: main
"""


def test_deb822_stanzas_become_one_source_per_suite() -> None:
    key = apt_sources.KEYRING
    assert list(apt_sources.parse("debian.sources", DEB822)) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib"), key),
        Source("http://mirror.example/debian", "bookworm-updates", ("main", "contrib"), key),
        Source("http://mirror.example/security", "bookworm-security", ("main",)),
    ]


def test_a_disabled_stanza_is_left_out() -> None:
    text = DEB822.replace("Types: deb\n", "Enabled: no\nTypes: deb\n")
    suites = [source.suite for source in apt_sources.parse("debian.sources", text)]
    assert suites == ["bookworm", "bookworm-updates"]


def test_one_line_format() -> None:
    text = (
        "# deb http://off.example/debian bookworm main\n"
        "deb http://mirror.example/debian bookworm main contrib # a remark\n"
        "deb-src http://mirror.example/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] https://x.example/apt stable main\n"
    )
    assert list(apt_sources.parse("sources.list", text)) == [
        Source("http://mirror.example/debian", "bookworm", ("main", "contrib")),
        Source("https://x.example/apt", "stable", ("main",), "/etc/apt/keyrings/x.gpg"),
    ]


@pytest.mark.parametrize(
    ("suite", "signed_by", "expected"),
    [
        ("bookworm", "", True),
        ("bookworm-security", apt_sources.KEYRING, True),
        ("bookworm-backports", apt_sources.KEYRING, False),
        ("stable", "", False),
        ("bookworm", "/usr/share/keyrings/somebody-else.gpg", False),
    ],
)
def test_what_counts_as_debian(suite: str, signed_by: str, expected: bool) -> None:
    source = Source("http://mirror.example/debian", suite, ("main",), signed_by)
    assert apt_sources.is_debian(source, "bookworm") is expected


def test_another_release_takes_the_place_of_our_own() -> None:
    source = Source("http://mirror.example/security", "bookworm-security", ("main",), "key")
    rewritten = apt_sources.rewrite(source, "bookworm", "trixie")
    assert (
        apt_sources.one_line(rewritten) == "deb http://mirror.example/security trixie-security main"
    )


def test_the_machines_file_names_debians_key() -> None:
    text = apt_sources.deb822([Source("http://mirror.example/debian", "trixie", ("main",))])
    assert text == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\nComponents: main\n"
        f"Signed-By: {apt_sources.KEYRING}\n"
    )


def test_only_what_leads_to_the_mirror_is_passed_on() -> None:
    dump = (
        'APT::Architecture "amd64";\n'
        'Acquire::http "";\n'
        'Acquire::http::Proxy "http://proxy.example:3128";\n'
        'Acquire::http::Proxy::direct.example "DIRECT";\n'
        'Acquire::https::Proxy "";\n'
        'Acquire::Check-Valid-Until "false";\n'
        'Acquire::Check-Date "false";\n'
        'Acquire::Languages "none";\n'
    )
    assert apt_sources.pick_options(dump) == [
        'Acquire::http::Proxy "http://proxy.example:3128";',
        'Acquire::http::Proxy::direct.example "DIRECT";',
        'Acquire::Check-Valid-Until "false";',
    ]


def test_codename() -> None:
    assert apt_sources.own_codename("ID=debian\nVERSION_CODENAME=bookworm\n") == "bookworm"
    with pytest.raises(Problem, match="names no Debian release"):
        apt_sources.own_codename("ID=other\n")
