"""Mistakes in a cluster file are told as what somebody wrote and what to write."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from portside.cluster.file import ClusterError, parse

HEAD = "name: a\ndomain: example.net\n"
SMALL = HEAD + "nodes: {s01: {}}\n"
WITH_CONTROL = HEAD + "nodes: {s01: {}, c01: {}}\n"

PYDANTICS = re.compile(
    r"Input should|valid (string|integer|dictionary|tuple|boolean)|pydantic|Value error|_type\b"
    r"|Field required|Extra inputs|unable to (parse|interpret)|function-|\(string_|\(int_"
)


def problems(text: str) -> list[str]:
    with pytest.raises(ClusterError) as error:
        parse(text)
    assert not [each for each in error.value.problems if PYDANTICS.search(each)]
    return error.value.problems


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "nodes: {S01: {}}", "nodes.S01: 'S01': .*first label.*lower case: write s01"),
        (HEAD + "nodes: {s01.example.net: {}}", "first label.*write s01 "),
        (HEAD + "nodes: {s01.other.org: {}}", r"write s01 \(other.org isn't the file's domain\)"),
        (HEAD + "nodes: {web_1: {}}", "one label of a host name: lower-case letters"),
        (
            HEAD + "nodes: [s01, s02]",
            r"a list is where a.*`nodes: \{s01: \{\}, s02: \{\}\}",
        ),
        (HEAD + "nodes:\n  - s01: {weight: 2}", "without '-'"),
        (HEAD + "nodes: s01", r"write `nodes: \{s01: \{\}\}"),
        (HEAD, "nodes: is missing: write `nodes:"),
        (HEAD + "nodes: {s01: {region: 1}}", "reads 1 as a number.*quotes, '1'"),
        (HEAD + "nodes: {s01: {region: no}}", "reads no as false: put it in quotes, 'no'"),
        (HEAD + "nodes: {s01: {region: 2026-01-01}}", "put it in quotes, '2026-01-01'"),
        (HEAD + "nodes: {s01: {region: 2026-99-99}}", "for a date or number: put it in quotes"),
        (HEAD + "nodes: {s01: {weight: 010}}", "reads 010 as the number 8: write 10 if"),
        (HEAD + "nodes: {s01: {address: 192.0.2.1}, s02: {address: 192.0.2.1}}", "s01 and s02 are"),
        (HEAD + "nodes: {s01: {address: S02.example.net}, s02: {}}", "are one machine"),
        (HEAD + "nodes: {lonely: {}}", "no pattern under 'roles' matches lonely"),
        (HEAD + "nodes: {c01: {}, c02: {}}", "c01 and c02 share one database: give its URL"),
        (f"name: a\ndomain: {'a.' * 125}net\nnodes: {{s01: {{}}}}", "host names 253 at most"),
        ("name: a\ndomain: https://Example.net/\nnodes: {s01: {}}", "write example.net, in lower"),
        ("name: a\ndomain: example.net.\nnodes: {s01: {}}", "write example.net, in lower"),
        ("name: on\ndomain: a.b\nnodes: {s01: {}}", "name: YAML reads on as true"),
        (SMALL + "quotas: {default: {files: 3}}", "no node has the role control, which quotas is"),
        (SMALL + "control: {backups: 3}", r"control.backups is for: add one \(c01: \{\}\)"),
        (SMALL + "replication: {factor: 2}", "needs as many storage nodes, there is one"),
        (SMALL + "replication: {ack: Replicated}", "did you mean replicated?"),
        (SMALL + "upload: {}", "no key Portside knows: did you mean uploads?"),
        (SMALL + "uploads: {maxsize: 1}", "did you mean max_size?"),
        (SMALL + "max_size: 1", "it belongs elsewhere: uploads.max_size"),
        (SMALL + "uploads:", "has nothing behind it"),
        (SMALL + "uploads: {extensions: []}", "must have at least 1 entries"),
        (SMALL + "uploads: {session_deadline: 1:30}", "reads 1:30 as the number 90"),
        (SMALL + "uploads: {session_deadline: 5s}", "5s is out of range: at least 1m"),
        (SMALL + "uploads: {max_size: 2000TiB}", "out of range: at most 1024.0 TiB"),
        (SMALL + "roles: {storage: [sc]}", "a regular expression say, goes in quotes"),
        (SMALL + "roles: {storage: '('}", r"roles.storage: '\(' is no regular expression"),
        (SMALL + 'roles: {storage: "^s\\d"}', "in single quotes"),
        (SMALL + "cors: {origins: ['https://a.b/']}", "write https://a.b;"),
        (SMALL + "cors: {origins: ['https://a.b/c']}", "write https://a.b;"),
        (SMALL + "cors: {origins: https://a.b}", r"write \[https://a.b\]"),
        (SMALL + "cors: {origins: [*]}", r"begins with \* goes in quotes"),
        (SMALL + "ssh: {port: 70000}", "70000 is out of range: at most 65535"),
        (SMALL + "ssh: {port: many}", "'many' is written where a whole number belongs"),
        (SMALL + "ssh: {key: ''}", "ssh.key: is empty"),
        (SMALL + "nginx: {keep: maybe}", "'maybe' is written where true or false belongs"),
        (SMALL + "uploads:\n\tmax_size: 1", r"a tab: indent with spaces \(line 5\)"),
        (
            SMALL + "name: b",
            r"key 'name' is there twice, first in line 1: leave one \(line 4\)",
        ),
    ],
)
def test_it_is_said_what_was_written_and_what_to_write(text: str, said: str) -> None:
    (told,) = problems(text)
    assert re.search(said, told), told


def test_all_are_told_at_once_in_the_order_of_their_lines() -> None:
    told = problems(
        "name: A\ndomain: x.\nnodes:\n  S1: {}\n  s01: {region: no}\nname: b\n"
        "cors: {origins: ['https://a.b/', 'c']}\ncolour: blue\n"
    )
    lines = [int(each.rpartition("(line ")[2].rstrip(")")) for each in told]
    assert lines == sorted(lines)
    assert {2, 4, 5, 6, 7, 8} <= set(lines)
    assert lines.count(7) == 2


def test_a_mapping_that_takes_over_another_may_be_taken_over_itself() -> None:
    cluster = parse(
        HEAD + "nodes:\n  s01: &base {weight: 2, region: hel}\n"
        "  s02: &p {<<: *base, region: fsn}\n  s03: *p\n"
    )
    assert [(each.weight, each.region) for each in cluster.nodes.values()] == [
        (2, "hel"),
        (2, "fsn"),
        (2, "fsn"),
    ]


def test_no_secret_is_in_a_mistake() -> None:
    for text in (
        "control: {database: 'mysql://u:hunter2@h/d'}",
        "control: {database: u:hunter2: x",
        "control: {alerts: {webhook: 'htps://chat.test/hunter2'}}",
        "monitoring: {prometheus: on, alertmanager: {webhook: 'htps://chat.test/hunter2'}}",
        "telemetry: {otlp: 'http://u:hunter2@c.test:4318'}",
    ):
        assert "hunter2" not in str(problems(SMALL + text))


@pytest.mark.parametrize("size", ["64 GB", "64GB", "64gb"])
def test_a_decimal_size_is_taken_and_what_it_means_is_told(size: str) -> None:
    cluster = parse(SMALL + f"uploads: {{max_size: {size}}}")
    assert cluster.uploads.max_size == 64_000_000_000
    (note,) = cluster.notes
    assert (note.key, note.line) == ("uploads.max_size", 4)
    assert "59.6 GiB: write 64GiB" in note.what
    assert parse(SMALL + "uploads: {max_size: 64GiB}").notes == ()


def test_machines_behind_one_address_are_told_apart_by_port_and_hops() -> None:
    assert parse(
        HEAD + "nodes:\n  s01: {address: 192.0.2.1, ssh: {port: 1}}\n"
        "  s02: {address: 192.0.2.1, ssh: {port: 2}}\n  s03: {address: 192.0.2.1, ssh: {jump: a}}"
    ).nodes


def test_keys_are_what_is_written() -> None:
    text = WITH_CONTROL + "quotas: {owners: {no: {files: 1}, 010: {files: 2}, 1: {files: 3}}}\n"
    assert set(parse(text).quotas.owners) == {"no", "010", "1"}


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)
_EXAMPLE = yaml.safe_load((Path(__file__).parents[5] / "clusters" / "example.yaml").read_text())


def _paths(data: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below: Iterable[tuple[Any, Any]] = data.items() if isinstance(data, dict) else ()
    if isinstance(data, list):
        below = enumerate(data)
    return [above, *(path for key, each in below for path in _paths(each, (*above, key)))]


@given(path=st.sampled_from(_paths(_EXAMPLE)[1:]), value=_VALUES)
def test_whatever_stands_anywhere_is_never_told_in_pydantics_words(
    path: tuple[Any, ...], value: Any
) -> None:
    data = yaml.safe_load(yaml.safe_dump(_EXAMPLE))
    place = data
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    try:
        parse(yaml.safe_dump(data))
    except ClusterError as error:
        assert not PYDANTICS.search(str(error)), str(error)
