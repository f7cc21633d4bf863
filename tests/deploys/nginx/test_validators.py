"""What downloads are known by: one ETag for one content, on every node, in every condition."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from deploys.components.nginx import configuration
from deploys.hosts import facts
from deploys.hosts.node import StorageNode
from portside import sizing
from portside.cluster.file import parse
from portside.quantities import GIB
from tests.support import nginx_process
from tests.support.cluster_files import CLUSTER
from tests.support.nginx_process import AgentDouble, Nginx, reply

COMMITTED = 1_700_000_000
FILE_ID = "0123456789abcdef" * 2
NAMED = "isos/a.bin"
URL = f"/uploads/{NAMED}"
OLD, NEW = b"0123456789", b"abcdefghij"


def _etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()}"'


def _attributes(content: bytes, **changed: str | None) -> str:
    said = {
        "file_id": FILE_ID,
        "namespace": "isos",
        # What a name or an owner says is no key.
        "owner": f'"sha256":"{"0" * 64}"',
        "sha256": hashlib.sha256(content).hexdigest(),
        "deleted_at": None,
        **changed,
    }
    return json.dumps(said, separators=(",", ":")) + "\n"


class Place:
    """nginx of one node, and the files it serves."""

    def __init__(self, node_id: str, home: Path, announced: str = "") -> None:
        """`announced` is Lua that runs between the reading of attributes and the file's opening."""
        self.uploads = home / "data" / "uploads"
        self.agent = AgentDouble(home / "agent.sock")
        self.agent.answer = lambda request, headers: reply(404)
        machine = sizing.Machine(ram=1 * GIB, cores=1, disk=10 * GIB)
        found = facts.NodeFacts(machine, False, False, 22, 4096, frozenset(), frozenset(), True)
        node = StorageNode(node_id, parse(CLUSTER), found, sizing.size(machine), "root")
        path = nginx_process.write(configuration(node), home)
        settings = path.read_text()
        call = r'access_by_lua_block { require\("portside"\)\.announce\([^)]*\)'
        settings, calls = re.subn(call, lambda found: f"{found[0]} {announced}", settings)
        assert calls
        path.write_text(settings)
        self.nginx = Nginx(path)

    def put(self, content: bytes, at: str = NAMED, attributes: str | None = None) -> Path:
        """Put a file there as a commit does; its inode and its time on this disk are its own."""
        path = self.uploads / at
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".attr.json")
        beside.write_text(_attributes(content) if attributes is None else attributes)
        path.write_bytes(content)
        os.utime(path, (COMMITTED, COMMITTED))
        return path

    def get(self, method: str = "GET", path: str = URL, **headers: str) -> tuple[int, bytes, str]:
        """Status, body and ETag of an answer; underscores in header names stand for hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer, body = self.nginx.ask(method, path, sent)
        return answer.status, body, answer.headers["ETag"] or ""

    def close(self) -> None:
        """End it."""
        self.nginx.stop()
        self.agent.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Place]]:
    """Two nodes."""
    made = (
        Place("s01", tmp_path_factory.mktemp("s01")),
        Place("s02", tmp_path_factory.mktemp("s02")),
    )
    yield made
    for each in made:
        each.close()


def test_a_copy_has_the_same_validators_on_every_node(places: tuple[Place, Place]) -> None:
    for place in places:
        place.put(OLD)
        answer, body = place.nginx.ask("GET", URL)
        assert (answer.status, body) == (200, OLD)
        assert answer.headers.get_all("ETag") == [_etag(OLD)]
        assert answer.headers.get_all("Last-Modified") == [formatdate(COMMITTED, usegmt=True)]
        assert answer.headers.get_all("Surrogate-Key") == [f"{FILE_ID} isos"]
        assert place.get("HEAD") == (200, b"", _etag(OLD))


def test_a_download_goes_on_at_another_node(places: tuple[Place, Place]) -> None:
    first, second = places
    first.put(OLD)
    second.put(OLD)
    _, _, etag = first.get()
    assert second.get(Range="bytes=4-", If_Range=etag) == (206, OLD[4:], etag)
    second.put(NEW)
    assert second.get(Range="bytes=4-", If_Range=etag) == (200, NEW, _etag(NEW))
    date = formatdate(COMMITTED, usegmt=True)
    assert first.get(Range="bytes=4-", If_Range=date) == (206, OLD[4:], etag)


def test_conditions_are_judged_by_the_content(places: tuple[Place, Place]) -> None:
    place = places[0]
    place.put(OLD)
    etag, other = _etag(OLD), _etag(NEW)
    date = formatdate(COMMITTED, usegmt=True)
    for wanted in (etag, f"W/{etag}", f"{other}, {etag}", "*"):
        assert place.get(If_None_Match=wanted) == (304, b"", etag)
    assert place.get(If_None_Match=other) == (200, OLD, etag)
    # An ETag that differs outweighs a time that doesn't (RFC 9110, section 13.2.2).
    assert place.get(If_None_Match=other, If_Modified_Since=date) == (200, OLD, etag)
    assert place.get(If_Modified_Since=date)[0] == 304
    for wanted in (etag, f"{other}, {etag}", "*"):
        assert place.get(If_Match=wanted) == (200, OLD, etag)
    for wanted in (other, f"W/{etag}"):
        assert place.get(If_Match=wanted)[0] == 412
    assert place.get(If_Match=etag, Range="bytes=2-3") == (206, b"23", etag)
    assert place.get(Range="bytes=2-3") == (206, b"23", etag)
    assert place.get(Range="bytes=10-")[0] == 416


@pytest.mark.parametrize(
    "attributes",
    ["", "{", '{"sha256":"abc"}', _attributes(OLD, deleted_at="2026-11-29T00:00:00Z")],
)
def test_without_attributes_there_is_no_etag_rather_than_a_wrong_one(
    places: tuple[Place, Place], attributes: str
) -> None:
    place = places[0]
    path = place.put(OLD, "isos/bare.bin", attributes)
    url = "/uploads/isos/bare.bin"
    assert place.get(path=url) == (200, OLD, "")
    assert place.get(path=url, Range="bytes=4-", If_Range=_etag(OLD)) == (200, OLD, "")
    assert place.get(path=url, If_None_Match=_etag(OLD)) == (200, OLD, "")
    path.with_name("bare.bin.attr.json").unlink()
    assert place.get(path=url) == (200, OLD, "")


def test_what_is_no_file_has_no_etag(places: tuple[Place, Place]) -> None:
    place = places[0]
    place.put(OLD, "isos/gone.bin").unlink()
    answer, _ = place.nginx.ask("GET", "/uploads/isos/gone.bin")
    assert (answer.status, answer.headers["ETag"]) == (404, None)
    assert answer.headers["Surrogate-Key"] is None


def test_content_by_id_has_its_etag_too(places: tuple[Place, Place]) -> None:
    place = places[0]
    place.put(OLD)
    place.agent.answer = lambda request, headers: reply(200, X_Accel_Redirect=f"/_stored/{NAMED}")
    try:
        where = f"/api/v1/files/{FILE_ID}/content"
        assert place.get(path=where) == (200, OLD, _etag(OLD))
        assert place.get(path=where, If_None_Match=_etag(OLD))[0] == 304
        assert place.get(path=where, Range="bytes=8-", If_Range=_etag(OLD))[:2] == (206, OLD[8:])
    finally:
        place.agent.answer = lambda request, headers: reply(404)


def test_a_file_replaced_while_it_is_opened_never_has_the_old_ones_etag(tmp_path: Path) -> None:
    swap = 'os.execute("sh " .. ngx.var.request_filename .. ".swap")'
    place = Place("s01", tmp_path, announced=swap)
    try:
        path = place.put(OLD)
        new = place.put(NEW, "isos/new.bin")
        script = path.with_name("a.bin.swap")

        def replaced(**headers: str) -> tuple[int, bytes, str]:
            place.put(OLD)
            new = place.put(NEW, "isos/new.bin")
            script.write_text(f"mv {new}.attr.json {path}.attr.json; mv {new} {path}\n")
            return place.get(**headers)

        assert replaced() == (200, NEW, "")
        assert replaced(Range="bytes=4-", If_Range=_etag(OLD)) == (200, NEW, "")
        assert replaced(If_None_Match=_etag(NEW))[:2] == (200, NEW)
        with pytest.raises(OSError):
            replaced(If_Match=_etag(OLD), Range="bytes=4-")
        script.write_text("")
        new.unlink(missing_ok=True)
        assert place.get() == (200, NEW, _etag(NEW))
    finally:
        place.close()
