"""A thousand names that somebody sends to break out, to hide or to confuse: always the same."""

from __future__ import annotations

import random

COUNT = 1000
_SEED = 20260727

_HARMFUL = (
    # ways out of a folder
    *("../", "..\\", "/", "\\", "//", "../../../../etc/", "..", ".", "~/", "file:///", "C:\\"),
    *("%2e%2e%2f", "%2e%2e/", "..%2f", "..%5c", "%252e%252e%252f", "..;/", "\uff0e\uff0e\uff0f"),
    # ends of strings, lines and terminals
    *("\x00", "%00", "\n", "\r\n", "\r\nX-Evil: 1\r\n", "\t", "\x07", "\x08", "\x1b[2J", "\x7f"),
    *("\x85", "\xa0", "\u2028", "\u2029"),
    # what looks like something else, or like nothing
    *("\u202e", "\u202d", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\ufeff", "\u200b"),
    *("\u200d", "\u00ad", "\u2060", "\u3164", "\u034f", "\U000e0041", "\u180e"),
    # one name, several spellings
    *("e\u0301", "\u00e9", "\ufb01", "\u212b", "\u0130", "\u0131", "\u00df", "\u1e9e", "\u017f"),
    *("\U0001d4b6", "\uff41", "\u0430", "\u03f2", "\u2024", "\u2025", "\u2215", "\u29f5"),
    # emoji, and scripts that join
    *("\U0001f984", "\U0001f469\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea", "\u2603"),
    *("\u0915\u093f", "\u0e01\u0e33", "\ufdfa", "\u05e9\u05dc\u05d5\u05dd", "z\u0337\u0352\u035d"),
    # very long
    *(
        "a" * 300,
        "\u00fc" * 130,
        "\U0001f984" * 60,
        "." * 250,
        "z\u0337" * 150,
        "a." * 150,
        " " * 99,
    ),
    # reserved elsewhere
    *("CON", "nul", "AUX.", "com1", "LPT9.", "PRN", "$MFT", "Thumbs.db", ".htaccess", ".git"),
    # what a shell, a template, a page or a database would run
    *("$(id)", "`id`", "; rm -rf ~ ;", "| sh", "&& id", "-rf", "--help", "*", "?", "~", "!", "#"),
    *("<script>alert(1)</script>", "' OR 1=1 --", '"; x="', "{{7*7}}", "${jndi:ldap://x}", "%s%n"),
    *("a\tb", ":", "::$DATA", "@", "\\\\host\\share\\", "|", "<", ">", '"', "'", ",", ";", "="),
)

_HARMLESS = ("a", "report", "Debian 13", "\u540d\u524d", "x_y-z")

_ENDINGS = (
    *(".bin", ".bin", ".bin", ".txt", ".BIN", ".tar.gz", ".bin.", ".bin ", ".bin..", ".bin\u200b"),
    *(".bin\u202e", ".b\u0131n", ".\uff42in", ".bin\x00", ".bin/", ".bin::$DATA", ".html", ".sVg"),
    *(".php", ".php.bin", ".bin.attr.json", ".attr.json", ".ATTR.JSON", ".part", ".png", "", "."),
    *("." + "x" * 100, ".bin%00.html", ".bin?x=.html", ".bin#x"),
)

_NO_UTF8 = (
    b"\xff",
    b"\xfe\xff",
    b"\xc0\xae\xc0\xae\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf8\x88\x80\x80\x80",
)


def hostile_names() -> list[bytes]:
    """COUNT names, as bytes, for not all are UTF-8."""
    source = random.Random(_SEED)  # noqa: S311 (a list of tests, not a secret)
    names = {stem.encode() + b".bin" for stem in _HARMFUL}
    names |= {stem + b".bin" for stem in _NO_UTF8} | {b"", b".", b"..", b".bin", b" .bin"}
    while len(names) < COUNT:
        stems = source.choices(_HARMFUL + _HARMLESS, k=source.randint(1, 4))
        name = "".join(stems).encode() + source.choice(_ENDINGS).encode()
        if source.random() < 0.05:
            name = source.choice(_NO_UTF8) + name
        names.add(name)
    return sorted(names)
