"""What nodes' scanners found: each node's word is for its own copy, and opens nobody else's."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control.catalogue import copies
from control.nodes.heartbeats import Heartbeats
from portside.wire.control import Session
from portside.wire.files import HoldNote, Scan
from portside.wire.heartbeat import GoneFile, HoldDone, ScanVerdict
from tests.support.control.core import Core
from tests.support.control.inventories import held, tells
from tests.support.control.web import Api, slug_of

_FAR_AHEAD = datetime(2200, 1, 1, tzinfo=UTC)


@pytest.fixture
def api(core: Core) -> Api:
    """A cluster in which the namespace `files` is scanned."""
    core.settings = core.settings.model_copy(update={"scanned": ("files",)})
    core.heartbeats = Heartbeats(
        core.settings, core.database, core.snapshots, core.runs, core.orders
    )
    return Api(core)


def verdict(file_id: str, scan: Scan, held: bool | None = None, **changed: Any) -> ScanVerdict:
    said = {
        "file_id": file_id,
        "sha256": hashlib.sha256(file_id.encode()).hexdigest(),
        "held": scan != "clean" if held is None else held,
        "note": HoldNote(reason="found", by="ops", at=_FAR_AHEAD, scan=scan),
        **changed,
    }
    return ScanVerdict.model_validate(said)


def judges(api: Api, node_id: str, *verdicts: ScanVerdict) -> tuple[str, ...]:
    """A node tells what its scanner found; what was heard of it."""
    heard: tuple[str, ...] = api.core.reports(node_id, verdicts=verdicts).verdicts
    return heard


def uploaded(api: Api, *, everywhere: bool = True, **wish: Any) -> Session:
    """A session whose file is held on its node, and where its copies are to be."""
    session = api.opens(**wish)
    path = f"files/{session.file_id}"
    api.brings(session, held=True, path=path)
    for node_id in session.replicas if everywhere else ():
        api.brings(session, node_id, held=True, path=path)
    return session


def answer_of(api: Api, file_id: str) -> str:
    """The node that a client is sent to, or why not."""
    answer = api.ask("GET", f"/f/{file_id}", key=None)
    if answer.status_code != 302:
        assert answer.status_code == 403
        return slug_of(answer)
    return str(answer.headers["Location"].removeprefix("https://").partition(".")[0])


def ordered(api: Api, node_id: str) -> list[tuple[str, bool, str | None]]:
    told = api.core.reports(node_id).holds
    return [(each.file_id, each.held, each.note.scan if each.note else None) for each in told]


def test_people_are_sent_to_the_copies_that_their_own_nodes_have_released(api: Api) -> None:
    session = uploaded(api)
    first, (second,), file_id = session.node_id, session.replicas, session.file_id
    assert answer_of(api, file_id) == "being-checked"
    assert judges(api, second, verdict(file_id, "clean")) == (file_id,)
    assert {answer_of(api, file_id) for _ in range(3)} == {second}
    assert ordered(api, first) == ordered(api, second) == []
    judges(api, first, verdict(file_id, "clean"))
    told = api.ask("GET", f"/api/v1/files/{file_id}").json
    assert (told["held"], told["hold"]["scan"]) == (False, "clean")
    # By whom and when isn't the node's to say.
    assert told["hold"]["by"] == f"clamav on {second}"
    assert told["hold"]["at"] < "2200"
    avoided = api.ask("GET", f"/f/{file_id}", key=None, query={"avoid": second})
    assert f"https://{first}." in avoided.headers["Location"]


def test_what_is_infected_is_closed_everywhere_whoever_finds_it_and_stays_so(api: Api) -> None:
    session = uploaded(api)
    first, (second,), file_id = session.node_id, session.replicas, session.file_id
    judges(api, first, verdict(file_id, "clean"))
    judges(api, second, verdict(file_id, "infected"))
    assert answer_of(api, file_id) == "infected"
    for node_id in (first, second):
        assert ordered(api, node_id) == [(file_id, True, "infected")]
    # Another one that finds nothing opens it for nobody.
    assert judges(api, first, verdict(file_id, "clean")) == (file_id,)
    assert answer_of(api, file_id) == "infected"
    (listed,) = api.ask("GET", "/api/v1/files").json["files"]
    assert (listed["held"], listed["hold"]["scan"]) == (True, "infected")


def test_what_a_person_says_counts_before_and_after_a_scan(api: Api) -> None:
    taken_down, released = uploaded(api), uploaded(api)
    for way, session in (("hold", taken_down), ("release", released)):
        assert api.ask("POST", f"/api/v1/files/{session.file_id}/{way}").status_code == 200
    verdicts: tuple[tuple[Scan, Session], ...] = (("clean", taken_down), ("infected", released))
    for scan, session in verdicts:
        for node_id in (session.node_id, *session.replicas):
            assert judges(api, node_id, verdict(session.file_id, scan)) == (session.file_id,)
    assert answer_of(api, taken_down.file_id) == "being-checked"
    # Nobody is sent to a copy that its node hasn't released yet.
    assert answer_of(api, released.file_id) == "being-checked"
    node_id = released.node_id
    api.core.reports(node_id, holds=(HoldDone(file_id=released.file_id, version=1),))
    assert answer_of(api, released.file_id) == node_id


def test_a_verdict_that_cant_be_taken_yet_is_told_again(api: Api) -> None:
    session = uploaded(api, everywhere=False)
    (second,) = session.replicas
    file_id = session.file_id
    # Of no file that is known, of a copy without its receipt, of a namespace that isn't scanned.
    assert judges(api, second, verdict("f" * 32, "clean"), verdict(file_id, "clean")) == ()
    elsewhere = api.uploads(namespace="isos")
    assert judges(api, elsewhere.node_id, verdict(elsewhere.file_id, "infected")) == ()
    assert answer_of(api, elsewhere.file_id) == elsewhere.node_id
    assert answer_of(api, file_id) == "being-checked"
    # Deleted meanwhile, or of other bytes: there is nothing to wait for.
    other = verdict(file_id, "clean", sha256="0" * 64)
    assert judges(api, session.node_id, other) == (file_id,)
    assert answer_of(api, file_id) == "being-checked"
    assert api.ask("DELETE", f"/api/v1/files/{file_id}").status_code == 200
    assert judges(api, session.node_id, verdict(file_id, "clean")) == (file_id,)


def test_a_stolen_node_opens_no_copy_but_its_own(api: Api) -> None:
    core = api.core
    session = uploaded(api)
    file_id = session.file_id
    (stolen,) = {"s01", "s02", "s03"} - {session.node_id, *session.replicas}
    # It never had it.
    assert judges(api, stolen, verdict(file_id, "clean")) == ()
    assert answer_of(api, file_id) == "being-checked"
    # It has a copy: that is the only one which people are sent to.
    core.expects(file_id, stolen)
    api.brings(session, stolen, held=False, path=f"files/{file_id}")
    judges(api, stolen, verdict(file_id, "clean"))
    assert answer_of(api, file_id) == stolen
    assert ordered(api, session.node_id) == ordered(api, session.replicas[0]) == []
    by_node = core.database.read(lambda s: copies.copies_of(s, file_id))
    assert by_node[session.node_id].held
    # A file that its token holds is no scanner's to release, whatever a node says.
    own = uploaded(api, hold=True)
    assert judges(api, own.node_id, verdict(own.file_id, "clean")) == (own.file_id,)
    assert answer_of(api, own.file_id) == "being-checked"


def test_a_file_that_is_too_much_for_the_scanner_is_as_its_nodes_have_it(api: Api) -> None:
    kept, released = uploaded(api), uploaded(api)
    judges(api, kept.node_id, verdict(kept.file_id, "unscannable"))
    judges(api, released.node_id, verdict(released.file_id, "unscannable", held=False))
    assert answer_of(api, kept.file_id) == "being-checked"
    assert answer_of(api, released.file_id) == released.node_id
    told = api.ask("GET", f"/api/v1/files/{kept.file_id}").json
    assert (told["hold"]["scan"], told["hold"]["reason"]) == ("unscannable", "found")


@pytest.mark.parametrize("order", [("infected", "clean"), ("clean", "infected")])
def test_a_catalogue_that_is_made_anew_knows_what_is_infected(
    api: Api, order: tuple[Scan, Scan]
) -> None:
    core, now = api.core, api.core.clock.now
    file = held()
    for hours, (node_id, scan) in enumerate(zip(("s01", "s02"), order, strict=True)):
        note = HoldNote(by="clamav", at=now + timedelta(hours=hours), scan=scan)
        said = {"held": scan == "infected", "hold": note}
        assert tells(core, node_id, file.model_copy(update=said)).taken == 1
    assert answer_of(api, file.file_id) == "infected"
    clean = "s02" if order[1] == "clean" else "s01"
    assert [each[:2] for each in ordered(api, clean)] == [(file.file_id, True)]


@pytest.mark.parametrize("is_later", [True, False])
def test_what_was_said_here_no_nodes_note_takes_back(core: Core, is_later: bool) -> None:
    """A node's key would do to release what was taken down."""
    api = Api(core)
    session = api.uploads()
    file_id, (stolen,) = session.file_id, session.replicas
    api.brings(session, stolen, path=f"files/{file_id}")
    assert api.ask("POST", f"/api/v1/files/{file_id}/hold").status_code == 200
    core.reports(stolen, gone=(GoneFile(file_id=file_id, why="missing"),))
    at = core.clock.now + timedelta(hours=1 if is_later else -1)
    file = core.file(file_id)
    told = held(
        file_id=file_id,
        jti=file.session_id,
        path=file.path,
        sha256=file.sha256,
        hold=HoldNote(by="ops", at=at),
    )
    assert tells(core, stolen, told).taken == 1
    assert core.copies(file_id)[stolen] == "present"
    assert answer_of(api, file_id) == "being-checked"
    assert [each[:2] for each in ordered(api, session.node_id)] == [(file_id, True)]
    assert [each[:2] for each in ordered(api, stolen)] == [(file_id, True)]
