"""A node is let go for good only when nothing on it is nowhere else."""

from __future__ import annotations

import io
import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from operate import locks
from operate.leaving import proof, retiring, taking_off
from operate.site import Refused, Site
from operate.tell import Tell
from portside.client.control import Control
from portside.client.http.errors import ControlUnavailable
from portside.operator import node_lock, programs
from portside.operator.programs import MARKER, Program
from portside.tokens import SigningKey
from portside.wire.inventory import (
    AskedNodes,
    AskedPage,
    LeavingFile,
    LeavingPage,
    OnlyCopies,
    OnlyCopy,
    OtherCopies,
    Owed,
)
from tests.support.client.control_double import ControlDouble
from tests.support.client.node_views import NODE

FIRST, SECOND = "1" * 32, "2" * 32
DIGEST = "a" * 64

EMPTY = LeavingPage(node_id="s01", files=())


def stored(file_id: str, kept: Any = "stored") -> LeavingFile:
    return LeavingFile(
        kept=kept, path=f"files/{file_id[:4]}.bin", size=1000, file_id=file_id, sha256=DIGEST
    )


class Node:
    """What stands for `portside-agent` on the node: it prints what it is told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "portside-agent"
        self.path.write_text(
            "#!/bin/sh\n"
            f'echo "$@" >> {folder}/asked\n'
            f'case "$*" in *--ask*) cat > {folder}/question; cat {folder}/others ;;\n'
            f"reindex) cp {folder}/indexed {folder}/page ;;\n"
            f"*--after*) cat {folder}/page2 ;; *) cat {folder}/page ;; esac\n"
        )
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.has(EMPTY)
        self.others()
        self.mark = folder / "retired"

    def has(self, *pages: LeavingPage) -> None:
        for name, page in zip(("page", "page2"), pages, strict=False):
            (self.folder / name).write_text(page.model_dump_json())

    def indexed_as(self, page: LeavingPage) -> None:
        """What it has once its index is made anew."""
        (self.folder / "indexed").write_text(page.model_dump_json())

    def others(self, *said: AskedNodes) -> None:
        (self.folder / "others").write_text(AskedPage(files=said).model_dump_json())

    def marked(self) -> bool:
        return self.mark.exists()

    def question(self) -> list[str]:
        return [each["file_id"] for each in json.loads((self.folder / "question").read_text())]


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    folder = tmp_path / "node"
    folder.mkdir()
    made = Node(folder)

    class Here(Program):
        on_path = str(made.path)

    here = Here(programs.AGENT.name, programs.AGENT.home, programs.AGENT.user)
    for module in (proof, retiring, taking_off):
        monkeypatch.setattr(module, "AGENT", here)
    monkeypatch.setattr(programs, "RETIRED", str(made.mark))
    return made


@pytest.fixture
def deploys(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Which deploys were run, on whom and with what; each ends well."""
    run: list[tuple[str, tuple[str, ...], dict[str, str]]] = []

    def deploy(
        site: Site, name: str, tell: Tell, *, limit: Any = (), data: Any = None, dry: bool = False
    ) -> int:
        run.append((name, tuple(limit), {**(data or {}), **({"dry": "yes"} if dry else {})}))
        return 0

    for module in (retiring, taking_off):
        for name in ("deploy", "deployed"):
            monkeypatch.setattr(module, name, deploy, raising=False)
    return run


@pytest.fixture(autouse=True)
def known(control: ControlDouble) -> None:
    control.nodes.append(NODE.model_copy(update={"state": "draining"}))


Deploys = list[tuple[str, tuple[str, ...], dict[str, str]]]


def changed(control: ControlDouble) -> list[str]:
    """The states that the control plane was told."""
    return [
        json.loads(body)["state"]
        for method, path, _, body in control.requests
        if method == "POST" and path.endswith("/state")
    ]


def test_a_node_with_an_only_copy_is_not_let_go_and_the_file_is_named(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    node.has(LeavingPage(node_id="s01", files=(stored(FIRST), stored(SECOND))))
    control.leaving = {FIRST: OtherCopies(file_id=FIRST, nodes=("s02",))}
    node.others(AskedNodes(file_id=SECOND, said=("s02: has no complete copy",)))
    with pytest.raises(Refused) as refused:
        retiring.retire(site, "s01", Tell())
    said = str(refused.value)
    assert "s01: 1 file (1000 B) on it are nowhere else" in said
    assert f"files/{SECOND[:4]}.bin" in said and DIGEST in said
    assert f"files/{FIRST[:4]}.bin" not in said
    assert "s02: has no complete copy" in said
    assert "fab drain s01 --watch" in said
    assert node.question() == [SECOND]
    assert deploys == [] and not changed(control)


def test_a_program_hears_what_keeps_a_node(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node.has(LeavingPage(node_id="s01", files=(stored(FIRST),)))
    with pytest.raises(Refused):
        retiring.retire(site, "s01", Tell(as_json=True))
    told = json.loads(capsys.readouterr().out)
    assert (told["retired"], told["without_other_copies"]) == (False, 1)
    assert told["named"][0]["file_id"] == FIRST


def test_what_another_node_vouches_for_itself_may_go(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    node.has(LeavingPage(node_id="s01", files=(stored(FIRST, "unindexed"),)))
    node.others(AskedNodes(file_id=FIRST, has=("s02",)))
    assert retiring.retire(site, "s01", Tell())
    assert changed(control) == ["retired"]
    assert [(name, limit) for name, limit, _ in deploys] == [
        ("retire_node", ("s01",)),
        ("retire_node", ("s02", "c01")),
    ]
    assert all(data == {"leaving": "s01"} for *_, data in deploys)
    assert node.marked()


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (
            LeavingPage(
                node_id="s01", files=(LeavingFile(kept="unindexed", path="files/x.bin", size=9),)
            ),
            "nothing tells what it is",
        ),
        (
            LeavingPage(
                node_id="s01",
                files=(),
                owed=(Owed(what="uploads under way", count=2, remedy="wait"),),
            ),
            "s01: 2 uploads under way: wait",
        ),
        (LeavingPage(node_id="s01", files=(), odd=3), "too many such things to name them"),
    ],
)
def test_what_nobody_can_vouch_for_keeps_a_node(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys, page: LeavingPage, said: str
) -> None:
    node.has(page)
    with pytest.raises(Refused, match=said):
        retiring.retire(site, "s01", Tell())
    assert deploys == [] and not changed(control)


def test_of_many_the_first_are_named_and_the_others_counted(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    files = [stored(f"{number:032x}") for number in range(50)]
    node.has(
        LeavingPage(node_id="s01", files=tuple(files[:30]), next=files[29].file_id),
        LeavingPage(node_id="s01", files=tuple(files[30:])),
    )
    with pytest.raises(Refused) as refused:
        retiring.retire(site, "s01", Tell())
    said = str(refused.value)
    assert "50 files" in said and "and 30 more" in said
    assert said.count("SHA-256") == 20


def test_a_dry_run_looks_at_all_and_changes_nothing(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert retiring.retire(site, "s01", Tell(as_json=True), dry=True)
    told = capsys.readouterr()
    assert json.loads(told.out)["dry"] is True
    assert "would be retired" in told.err
    assert "s02, c01: would get a roster without it" in told.err
    assert deploys == [] and not changed(control)


def test_a_file_that_came_while_the_node_was_let_go_takes_it_back(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(*_: Any, **__: Any) -> None:
        node.has(LeavingPage(node_id="s01", files=(stored(FIRST),)))

    monkeypatch.setattr(retiring, "deployed", late)
    with pytest.raises(Refused, match="came while it was being let go"):
        retiring.retire(site, "s01", Tell())
    assert changed(control) == ["retired", "draining"]
    for data_too in (False, True):
        with pytest.raises(Refused, match="s01 is not retired"):
            taking_off.uninstall(site, "s01", Tell(), data_too=data_too)
    assert deploys == []


def test_an_upload_that_came_while_the_node_was_let_go_takes_it_back_too(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(*_: Any, **__: Any) -> None:
        owed = Owed(what="uploads under way", count=1, remedy="wait")
        node.has(LeavingPage(node_id="s01", files=(), owed=(owed,)))

    monkeypatch.setattr(retiring, "deployed", late)
    with pytest.raises(Refused, match="came while it was being let go"):
        retiring.retire(site, "s01", Tell())
    assert "s01: 1 uploads under way: wait" in capsys.readouterr().err
    assert changed(control) == ["retired", "draining"]
    assert not node.marked()


def test_the_late_files_are_named_although_the_control_plane_does_not_let_it_drain(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def late(*_: Any, **__: Any) -> None:
        node.has(LeavingPage(node_id="s01", files=(stored(FIRST),)))
        monkeypatch.setattr(Control, "set_state", no_more)

    def no_more(*_: Any) -> None:
        raise ControlUnavailable("the other nodes have no room for its files")

    monkeypatch.setattr(retiring, "deployed", late)
    with pytest.raises(Refused, match="it stays retired for the control plane"):
        retiring.retire(site, "s01", Tell())
    assert f"files/{FIRST[:4]}.bin" in capsys.readouterr().err
    assert not node.marked()


def test_a_run_that_was_cut_before_the_second_look_leaves_no_node_whose_data_may_go(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(retiring, "deployed", cut)
    with pytest.raises(KeyboardInterrupt):
        retiring.retire(site, "s01", Tell())
    control.nodes[:] = [NODE.model_copy(update={"state": "retired"})]
    with pytest.raises(Refused, match="has no mark that it was let go"):
        taking_off.uninstall(site, "s01", Tell(), data_too=True)
    assert deploys == []


def test_a_node_that_is_closed_or_being_changed_is_left_as_it_is(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with (
        locks.held(site, "s01", "restart"),
        pytest.raises(Refused, match="s01 is being changed by"),
    ):
        retiring.retire(site, "s01", Tell())
    assert locks.close(site, ["s01"], "its disk is being replaced", Tell())
    monkeypatch.setattr(node_lock, "me", lambda: "bob@desk")
    with pytest.raises(Refused, match="s01 was closed by"):
        retiring.retire(site, "s01", Tell())
    assert deploys == [] and not changed(control) and not node.marked()


def test_what_the_others_did_not_hear_is_told_them_by_the_same_command_again(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as some_are_down:
        some_are_down.setattr(retiring, "deploy", lambda *_, **__: 1)
        assert not retiring.retire(site, "s01", Tell())
    # Those that have a roster without it answer its questions no more.
    node.has(LeavingPage(node_id="s01", files=(stored(FIRST),)))
    node.others(AskedNodes(file_id=FIRST, said=("s02: source-unknown",)))
    control.nodes[:] = [NODE.model_copy(update={"state": "retired"})]
    assert retiring.retire(site, "s01", Tell())
    assert [limit for _, limit, _ in deploys] == [("s01",), ("s02", "c01")]
    # One that was taken back since is looked at as any other.
    control.nodes[:] = [NODE.model_copy(update={"state": "active"})]
    with pytest.raises(Refused, match="are nowhere else"):
        retiring.retire(site, "s01", Tell())


def test_who_let_a_node_go_is_in_the_audit_log_of_the_control_planes_node(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert retiring.retire(site, "s01", Tell())
    capsys.readouterr()
    assert locks.audit(site, ["c01"], Tell(), lines=50, days=1)
    said = capsys.readouterr().out
    assert node_lock.me() in said and "s01: retired" in said


def test_a_node_that_is_down_is_not_let_go_unasked(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    with pytest.raises(Refused, match=r"only the node itself can say .*fab retire s02 --lost"):
        retiring.retire(site, "s02", Tell())
    assert not changed(control)


def test_without_its_control_plane_nothing_is_let_go(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    control.close()
    with pytest.raises(Refused, match=r"Without it nothing can be let go: see `fab -H c01 logs`"):
        retiring.retire(site, "s01", Tell())
    assert deploys == []


def test_only_nodes_that_store_are_retired(site: Site, node: Node) -> None:
    with pytest.raises(Refused, match="c01 keeps no files"):
        retiring.retire(site, "c01", Tell())
    with pytest.raises(Refused, match="no node 's09'"):
        retiring.retire(site, "s09", Tell())


def test_the_retired_nodes_key_counts_no_more(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    site.keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    assert retiring.retire(site, "s01", Tell())
    assert "s01" not in site.keystore.node_keys()


# -- lost ------------------------------------------------------------------------------------------


@pytest.fixture
def lost(control: ControlDouble) -> str:
    """s02, which is down, with one file that is nowhere else."""
    control.nodes.append(NODE.model_copy(update={"node_id": "s02", "state": "down"}))
    control.only = OnlyCopies(
        node_id="s02",
        files=(
            OnlyCopy(file_id=FIRST, path="files/gone.bin", size=7, sha256=DIGEST, owner="alice"),
        ),
        looked_at=3,
        next=None,
    )
    return "s02"


def test_what_goes_with_a_lost_node_is_named_and_has_to_be_said(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    lost: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for accepted, said in (("", "--yes-i-lose 1 says it"), ("3", "it is 1 files")):
        with pytest.raises(Refused, match=said):
            retiring.retire_lost(site, lost, Tell(), accepted)
        assert "files/gone.bin" in capsys.readouterr().out
        assert deploys == [] and not changed(control)
    assert retiring.retire_lost(site, lost, Tell(), "1")
    assert changed(control)
    assert [limit for _, limit, _ in deploys] == [("s01", "c01")]


def test_a_node_that_answers_is_not_lost(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    with pytest.raises(Refused, match="s01 answers, and can say what is on it: `fab retire s01`"):
        retiring.retire_lost(site, "s01", Tell(), "0")
    assert not changed(control)


# -- uninstall, reinstall --------------------------------------------------------------------------


def test_only_a_retired_node_is_uninstalled(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    with pytest.raises(Refused, match=r"s01 is not retired \(it is draining\): `fab drain s01"):
        taking_off.uninstall(site, "s01", Tell())
    with pytest.raises(Refused, match="can't be reached"):
        taking_off.uninstall(site, "s02", Tell(), lost=True)
    with pytest.raises(Refused, match="c01 has the control plane"):
        taking_off.uninstall(site, "c01", Tell())
    assert deploys == []
    control.nodes[:] = [NODE.model_copy(update={"state": "retired"})]
    taking_off.uninstall(site, "s01", Tell())
    node.mark.write_text("")
    taking_off.uninstall(site, "s01", Tell(), data_too=True, dry=True)
    assert deploys == [
        ("uninstall", ("s01",), {"uninstall": "everything"}),
        ("uninstall", ("s01",), {"uninstall": "everything-and-data", "dry": "yes"}),
    ]


@pytest.mark.parametrize("state", ["retired", "draining", "active"])
def test_data_goes_only_by_the_nodes_mark_and_the_control_planes_word(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys, state: Any
) -> None:
    # So is one that was given up as lost and came back, or that is in no roster.
    control.nodes[:] = [NODE.model_copy(update={"state": state})]
    with pytest.raises(Refused, match=r"no mark that it was|s01 is not retired"):
        taking_off.uninstall(site, "s01", Tell(), data_too=True)
    node.mark.write_text("")
    if state == "retired":
        taking_off.uninstall(site, "s01", Tell(), data_too=True)
        assert len(deploys) == 1
        return
    with pytest.raises(Refused, match=f"s01 is not retired .it is {state}."):
        taking_off.uninstall(site, "s01", Tell(), data_too=True)
    control.close()
    with pytest.raises(Refused, match="whether s01 was retired can't be told"):
        taking_off.uninstall(site, "s01", Tell(), data_too=True)
    assert deploys == []


def test_data_of_a_node_that_is_not_retired_goes_only_by_its_id_typed(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refused, match="no terminal to ask on"):
        taking_off.uninstall(site, "s01", Tell(), data_too=True, lost=True)
    typed = io.StringIO("s02\ns01\n")
    monkeypatch.setattr(typed, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", typed)
    with pytest.raises(Refused, match="not its id: s01 is as it was"):
        taking_off.uninstall(site, "s01", Tell(), data_too=True, lost=True)
    assert deploys == []
    taking_off.uninstall(site, "s01", Tell(), data_too=True, lost=True)
    assert deploys == [("uninstall", ("s01",), {"uninstall": "everything-and-data"})]


def test_reinstall_takes_the_programs_off_and_deploys_them_again(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    capsys: pytest.CaptureFixture[str],
) -> None:
    site.keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    node.has(LeavingPage(node_id="s01", files=(), stored=12))
    taking_off.reinstall(site, "s01", Tell())
    assert deploys == [
        ("uninstall", ("s01",), {"uninstall": "programs"}),
        ("site", ("s01",), {}),
    ]
    assert "made anew, and answers with 12 files" in capsys.readouterr().out


def test_a_machine_that_was_made_anew_may_show_other_keys_and_the_others_hear_of_them(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    site.keystore.keep_node_key("s01", SigningKey.generate("s01").public())
    with pytest.raises(Refused, match="host key"):
        # Nobody has said which one: that of the server here is not pinned any more.
        taking_off.reinstall(site, "s01", Tell(), new_machine=True)
    assert "s01" not in site.keystore.node_keys()
    assert deploys == []


def test_a_node_whose_key_is_not_known_is_introduced_to_the_others(
    site: Site, control: ControlDouble, node: Node, deploys: Deploys
) -> None:
    taking_off.reinstall(site, "s01", Tell())
    assert [name for name, *_ in deploys] == ["uninstall", "site", "keys"]


def test_an_index_that_is_gone_is_made_anew_from_the_files_by_a_reinstall(
    site: Site,
    control: ControlDouble,
    node: Node,
    deploys: Deploys,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "data"
    (root / "uploads" / "files").mkdir(parents=True)
    (root / MARKER).touch()
    (root / "uploads" / "files" / "a.bin.attr.json").touch()
    uploads = site.cluster.uploads.model_copy(update={"root": root})
    moved = replace(site, cluster=site.cluster.model_copy(update={"uploads": uploads}))
    node.indexed_as(LeavingPage(node_id="s01", files=(), stored=12))
    taking_off.reinstall(moved, "s01", Tell())
    said = capsys.readouterr().out
    assert "its index is gone" in said
    assert "made anew, and answers with 12 files" in said


def test_a_file_that_is_missing_after_a_reinstall_is_told(
    site: Site, control: ControlDouble, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.has(LeavingPage(node_id="s01", files=(), stored=12))

    def fewer(*_: Any, **__: Any) -> None:
        node.has(LeavingPage(node_id="s01", files=(), stored=11))

    monkeypatch.setattr(taking_off, "deployed", fewer)
    with pytest.raises(Refused, match="had 12 files and has 11"):
        taking_off.reinstall(site, "s01", Tell())
