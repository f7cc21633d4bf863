"""A node that takes over: what ran is kept, by a real shell, and put back when the new fails."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from pyinfra.api.host import Host

from deploys import layout
from deploys.components import agent, nginx
from deploys.hosts.way_back import WayBack, Ways
from deploys.operations.running import Ran
from deploys.rollout import going_back, takeover
from deploys.rollout.proof import Failure
from deploys.rollout.takeover import TakeOver, complaints
from deploys.rollout.turns import TurnFailed
from tests.support.deploys.nodes import MakeNode
from tests.support.deploys.this_computer import Programs, shell

BROKEN = Failure("upload", "500 internal-error: the node failed", "internal-error")
FULL = Failure("upload", "507 no-space: the disk is full", "no-space")


@dataclass
class Node:
    """A node's files on this computer, and what its services run."""

    root: Path
    settings: Path
    told: list[str] = field(default_factory=list)
    answers: list[Failure | None] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    lost: str = ""
    """The connection is lost with the first command that has this in it."""
    releases: Path = Path()
    current: Path = Path()

    def release(self, name: str) -> None:
        """Install a release beside the others."""
        (self.releases / name).mkdir()
        (self.releases / name / ".complete").touch()

    def change(self, release: str, settings: str) -> None:
        """What the operations of a turn do."""
        self.current.unlink(missing_ok=True)
        self.current.symlink_to(f"releases/{release}")
        self.settings.write_text(settings)

    def runs(self) -> tuple[str, str]:
        return self.current.readlink().name, self.settings.read_text()

    @property
    def state(self) -> Any:
        return _ANY

    def log(self, message: str) -> None:
        self.said.append(message)

    def take_over(self, change: Callable[[], str | None]) -> None:
        TakeOver(_ANY, _ANY, cast("Host", self), change).carry_out()

    def ways(self) -> Ways:
        places = (self.releases, self.current, self.root / "before")
        output = shell(WayBack().command(*map(str, places)))
        return WayBack().process(output.stdout.splitlines())


class _Any:
    node_id = "s01"


_ANY: Any = _Any()


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """It runs release `old` with the settings `old`, and has `new` beside it."""
    node = Node(tmp_path, tmp_path / "etc" / "agent.toml")
    node.releases, node.current = tmp_path / "releases", tmp_path / "current"
    for folder in (node.releases, node.settings.parent, tmp_path / "stamps"):
        folder.mkdir()
    places = {"RELEASES": "releases", "CURRENT": "current", "BEFORE": "before", "STATE": "stamps"}
    for name, place in places.items():
        monkeypatch.setattr(layout, name, str(tmp_path / place))
    # Not there, as before there were generations.
    monkeypatch.setattr(layout, "SERVE_COMMAND", str(tmp_path / "portside-serve"))
    files = (str(node.settings), str(tmp_path / "etc" / "new.socket"))
    monkeypatch.setattr(takeover, "files_of_a_release", lambda _: files)

    def run(state: object, host: object, command: str) -> Ran:
        if node.lost and node.lost in command:
            return Ran(False, "", "connection lost")
        # There is no systemd here to be told of units.
        done = shell(command.removesuffix("; systemctl daemon-reload"))
        return Ran(done.returncode == 0, done.stdout, done.stderr)

    class Prover:
        def __init__(self, *_: object) -> None:
            pass

        def failure(self) -> Failure | None:
            return node.answers.pop(0)

    monkeypatch.setattr(takeover, "run", run)
    monkeypatch.setattr(takeover, "Prover", Prover)
    monkeypatch.setattr(agent, "services", lambda _, back: node.told.append("agent"))
    monkeypatch.setattr(nginx, "serves", lambda _: node.told.append("nginx"))
    for name in ("old", "new"):
        node.release(name)
    node.change("old", "old")
    yield node


def _to_new(node: Node, failed: str | None = None) -> Callable[[], str | None]:
    def change() -> str | None:
        node.change("new", "new")
        (node.root / "etc" / "new.socket").touch()
        return failed

    return change


def test_what_is_proven_stays_and_what_it_replaced_can_be_gone_back_to(node: Node) -> None:
    node.answers = [None, None]
    node.take_over(_to_new(node))
    assert node.runs() == ("new", "new")
    assert not (node.root / "before").exists()
    assert node.ways() == Ways("new", ("old",), frozenset(), returned=False)


def test_what_fails_its_proof_goes_back_with_its_settings(node: Node) -> None:
    node.answers = [None, BROKEN, None]
    with pytest.raises(
        TurnFailed, match=r"release new failed: upload: 500 .*; it went back to old and works again"
    ):
        node.take_over(_to_new(node))
    assert node.runs() == ("old", "old")
    assert not (node.root / "etc" / "new.socket").exists()
    assert node.told == ["agent", "nginx"]
    assert not (node.root / "before").exists()


def test_a_node_whose_memory_is_full_of_older_processes_is_left_as_it_is(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = Path(layout.SERVE_COMMAND)
    (node.root / "runuser").write_text('#!/bin/sh\nshift 3; exec "$@"\n')
    (node.root / "runuser").chmod(0o755)
    monkeypatch.setenv("PATH", f"{node.root}:{os.environ['PATH']}")
    serve.write_text(
        '#!/bin/sh\ncase "$*" in *--help) echo room ;; *) echo 2 older >&2; exit 1 ;; esac\n'
    )
    serve.chmod(0o755)
    with pytest.raises(TurnFailed, match=r"nothing was changed: 2 older\. .*--exclude s01"):
        node.take_over(_to_new(node))
    assert node.runs() == ("old", "old")


def test_an_operation_that_fails_half_way_goes_back_too(node: Node) -> None:
    node.answers = [None, None]
    with pytest.raises(TurnFailed, match=r"release new failed: Agent \| Settings; it went back"):
        node.take_over(_to_new(node, "Agent | Settings"))
    assert node.runs() == ("old", "old")


def test_settings_alone_go_back_too(node: Node) -> None:
    node.answers = [None, BROKEN, None]

    def change() -> None:
        node.settings.write_text("new")

    with pytest.raises(TurnFailed, match="the new settings failed"):
        node.take_over(change)
    assert node.runs() == ("old", "old")


def test_a_node_that_was_broken_before_is_not_put_back_to_that(node: Node) -> None:
    node.answers = [BROKEN, BROKEN]
    with pytest.raises(TurnFailed, match=r"It didn't work before either .* --exclude s01"):
        node.take_over(_to_new(node))
    assert node.runs() == ("new", "new")


def test_a_release_that_mends_a_broken_node_stays(node: Node) -> None:
    node.answers = [BROKEN, None]
    node.take_over(_to_new(node))
    assert node.runs() == ("new", "new")


def test_a_full_node_gets_new_releases_as_any_other(node: Node) -> None:
    node.answers = [FULL, FULL]
    node.take_over(_to_new(node))
    assert node.runs() == ("new", "new")
    assert "as before, it takes no upload now: upload: 507" in node.said[-1]


def test_a_full_node_goes_back_from_a_release_that_does_not_work(node: Node) -> None:
    node.answers = [FULL, BROKEN, FULL]
    with pytest.raises(TurnFailed, match="went back to old and works again"):
        node.take_over(_to_new(node))
    assert node.runs() == ("old", "old")


def test_a_node_that_says_it_is_full_only_since_then_goes_back(node: Node) -> None:
    node.answers = [None, FULL, None]
    with pytest.raises(TurnFailed, match="went back to old"):
        node.take_over(_to_new(node))


def test_going_back_that_fails_is_said_and_the_next_run_can_still_go_back(node: Node) -> None:
    node.answers = [None, BROKEN, BROKEN]
    with pytest.raises(TurnFailed, match="going back to old failed too: upload: 500"):
        node.take_over(_to_new(node))
    assert (node.root / "before" / "release").read_text() == "old\n"
    node.change("new", "half")
    node.answers = [None, BROKEN, None]
    with pytest.raises(TurnFailed, match="went back to old and works again"):
        node.take_over(lambda: None)
    assert node.runs() == ("old", "old")


def test_a_run_that_was_killed_is_gone_back_from_to_what_ran_before_it(node: Node) -> None:
    class Killed(Exception):
        pass

    def dies() -> None:
        node.change("new", "half")
        raise Killed

    node.answers = [None]
    with pytest.raises(Killed):
        node.take_over(dies)
    # It needn't work any more: what ran before did.
    node.answers = [BROKEN, BROKEN, None]
    with pytest.raises(TurnFailed, match="went back to old"):
        node.take_over(_to_new(node))
    assert node.runs() == ("old", "old")


def test_what_a_killed_run_left_is_proven_by_the_next_with_nothing_left_to_change(
    node: Node,
) -> None:
    node.answers, node.lost = [None, None], "left < "
    with pytest.raises(TurnFailed, match="can't be put away: connection lost"):
        node.take_over(_to_new(node))
    assert (node.root / "before" / "release").read_text() == "old\n"
    node.answers, node.lost = [None, None], ""
    node.take_over(lambda: None)
    assert not (node.root / "before").exists()
    assert node.ways() == Ways("new", ("old",), frozenset(), returned=False)


def test_a_node_that_was_broken_before_is_no_better_the_next_time(node: Node) -> None:
    node.answers = [BROKEN, BROKEN]
    with pytest.raises(TurnFailed, match="It didn't work before either"):
        node.take_over(_to_new(node))
    for _ in range(2):
        node.answers = [BROKEN, BROKEN]
        with pytest.raises(TurnFailed, match="It didn't work before either"):
            node.take_over(lambda: None)
    node.answers = [None, None]
    node.take_over(lambda: None)
    assert node.runs() == ("new", "new")


def test_a_new_node_that_did_not_work_is_proven_by_the_next_run(node: Node) -> None:
    first = TakeOver(_ANY, _ANY, cast("Host", node), lambda: None).first
    node.answers = [BROKEN]
    with pytest.raises(TurnFailed, match="the new node doesn't do its work"):
        first()
    assert (node.root / "before" / "release").read_text() == ""
    assert node.ways().before(None) is None
    node.answers = [None]
    first()
    assert not (node.root / "before").exists()


def test_a_service_that_was_told_in_vain_reads_what_comes_back(node: Node) -> None:
    # The agent was about to read the new unit and settings; nginx was told nothing.
    stamps = node.root / "stamps"
    (stamps / "agent.stamp").write_text("unit settings\n")
    (stamps / "agent.stamp.told").write_text("new-unit new-settings\n")
    (stamps / "nginx.stamp").write_text("conf\n")
    node.answers = [None, BROKEN, None]
    with pytest.raises(TurnFailed):
        node.take_over(_to_new(node))
    assert (stamps / "agent.stamp").read_text() == "new-unit -\n"
    assert (stamps / "nginx.stamp").read_text() == "conf\n"


@pytest.mark.parametrize("served", [True, False])
def test_a_release_from_before_generations_comes_back_without_the_unit_that_would_stop_them(
    node: Node, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, served: bool
) -> None:
    unit, conf = node.root / "units" / layout.AGENT_SERVICE, node.root / "etc" / "gunicorn.conf.py"
    monkeypatch.setattr(layout, "UNITS", str(unit.parent))
    monkeypatch.setattr(layout, "GUNICORN_CONF", str(conf))
    unit.parent.mkdir()
    files = (str(unit), str(conf), str(node.settings))
    monkeypatch.setattr(takeover, "files_of_a_release", lambda _: files)
    unit.write_text("ExecStart=gunicorn\n")
    conf.write_text("old")
    serve = Path(layout.SERVE_COMMAND)
    # The supervisor, or gunicorn that was never ended.
    words = [str(serve), "run"] if served else ["gunicorn"]
    main = subprocess.Popen(["sh", "-c", "read end", *words], stdin=subprocess.PIPE)
    programs = Programs(tmp_path)
    programs.make("systemctl", f"echo {main.pid}")
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:{os.environ['PATH']}")

    def change() -> None:
        unit.write_text(f"ExecStart={serve} run\n")
        conf.write_text("new")
        node.change("new", "new")

    node.answers = [None, BROKEN, None]
    with pytest.raises(TurnFailed, match="it went back to old and works again"):
        node.take_over(change)
    main.communicate(b"\n")
    assert node.runs() == ("old", "old")
    assert (conf.read_text(), str(serve) in unit.read_text()) == (
        ("new", True) if served else ("old", False)
    )
    said = "old is from before portside-serve, and is served by it all the same"
    assert (said in node.said) == served


def test_an_nginx_conf_from_before_finds_its_certificate(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, crt, key = (node.root / "etc" / name for name in ("nginx.conf", "node.crt", "node.key"))
    conf.write_text(f"ssl_certificate {crt};\n")
    monkeypatch.setattr(nginx, "FILE", str(conf))
    monkeypatch.setattr(layout, "TLS_FORMER", (str(crt), str(key)))
    monkeypatch.setattr(layout, "TLS_PAIR", str(node.root / "etc" / "node.pem"))
    node.answers = [None, BROKEN, None]
    with pytest.raises(TurnFailed, match="it went back to old and works again"):
        node.take_over(_to_new(node))
    assert crt.readlink() == node.root / "etc" / "node.pem"
    assert not key.is_symlink()


def test_who_went_back_by_itself_does_not_go_further_back_when_told_to(node: Node) -> None:
    node.answers = [None, BROKEN, None]
    with pytest.raises(TurnFailed):
        node.take_over(_to_new(node))
    assert node.ways().before(None) is None


def _take_over(node: Node, release: str) -> None:
    node.answers = [None, None]
    node.take_over(lambda: node.change(release, f"of {release}"))


def _go_back(node: Node, wanted: str | None = None) -> None:
    ways = node.ways()
    release = ways.before(wanted)
    assert release is not None
    going_back.back_to(_ANY, cast("Host", node), ways, release).carry_out()


def test_a_node_goes_back_to_what_it_ran_with_the_settings_of_that_time_and_stays(
    node: Node,
) -> None:
    _take_over(node, "new")
    node.answers = [None, None]
    _go_back(node)
    assert node.runs() == ("old", "old")
    ways = node.ways()
    assert ways == Ways("old", ("new",), frozenset({"new"}), returned=True)
    assert ways.before(None) is None
    # One that is named is gone to.
    node.answers = [None, None]
    _go_back(node, "new")
    assert node.runs() == ("new", "of new")


def test_a_release_that_was_gone_back_from_is_nothing_to_go_back_to(node: Node) -> None:
    for name in ("newer", "newest"):
        node.release(name)
    for release in ("new", "newer"):
        _take_over(node, release)
    node.answers = [None, None]
    _go_back(node)
    assert node.runs() == ("new", "of new")
    _take_over(node, "newest")
    assert node.ways().before(None) == "new"
    node.answers = [None, None]
    _go_back(node)
    assert node.ways().before("old") == "old"
    assert node.ways().before("nowhere") is None


def test_a_release_that_is_taken_over_again_is_as_good_as_any(node: Node) -> None:
    _take_over(node, "new")
    node.answers = [None, None]
    _go_back(node)
    _take_over(node, "new")
    assert node.ways() == Ways("new", ("old",), frozenset(), returned=False)


def test_going_back_that_is_cut_off_is_finished_and_never_turned_round(node: Node) -> None:
    _take_over(node, "new")
    for lost in ("/back;", "left < "):
        node.answers, node.lost = [None, None], lost
        with pytest.raises(TurnFailed, match="connection lost"):
            _go_back(node)
        assert node.ways().before(None) == "old"
    node.answers, node.lost = [None, None], ""
    _go_back(node)
    assert node.runs() == ("old", "old")
    assert node.ways() == Ways("old", ("new",), frozenset({"new"}), returned=True)


def test_whichever_run_finishes_going_back_the_release_that_was_left_stays_left(
    node: Node,
) -> None:
    _take_over(node, "new")
    node.answers, node.lost = [None, None], "left < "
    with pytest.raises(TurnFailed, match="connection lost"):
        _go_back(node)
    node.answers, node.lost = [None, None], ""
    node.take_over(lambda: None)
    assert node.ways() == Ways("old", ("new",), frozenset({"new"}), returned=True)


def test_a_change_that_broke_off_is_gone_back_from_and_no_further(node: Node) -> None:
    node.release("newer")
    _take_over(node, "new")
    node.answers, node.lost = [None, None], "left < "
    with pytest.raises(TurnFailed, match="connection lost"):
        node.take_over(lambda: node.change("newer", "of newer"))
    node.answers, node.lost = [None, None], ""
    _go_back(node)
    assert node.runs() == ("new", "of new")
    assert node.ways() == Ways("new", ("old",), frozenset(), returned=True)


def test_of_a_log_only_what_complains_is_shown_and_in_short() -> None:
    log = [
        "Started portside-agent.service - Portside agent.",
        "portside-agent.service: Main process exited, code=exited, status=3/NOTIMPLEMENTED",
        '{"event": "request answered", "level": "info"}',
        '{"event": "unforeseen error", "level": "error", "exception": "Traceback\\nValueError: x"}',
        "y" * 1000,
    ]
    assert complaints(log) == [log[1], "unforeseen error: ValueError: x", "y" * 200]


def test_keys_are_no_part_of_what_is_gone_back_to(make_node: MakeNode) -> None:
    files = takeover.files_of_a_release(make_node())
    assert layout.AGENT_TOML in files
    for key in (layout.KEYSET, layout.NODE_KEY, layout.TLS_PAIR, layout.ROSTER):
        assert key not in files
