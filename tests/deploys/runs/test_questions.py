"""A host is asked as little as it takes, and never believed to be what it no longer is."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.command import FileUploadCommand, StringCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import operation
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.local import LocalConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state, host

from deploys.operations.files import File, files_in_place
from deploys.runs import questions
from deploys.runs.trouble import contained


class Content(FactBase[str]):
    """A file's; the command fails where there is none."""

    @staticmethod
    def default() -> str:
        return ""

    def command(self, path: str) -> str:
        return f"cat {shlex.quote(path)}"


@operation()
def copied(source: str, to: str) -> Generator[str]:
    content = host.get_fact(Content, path=source)
    if content != host.get_fact(Content, path=to):
        yield f"echo {shlex.quote(content)} > {to}"


@operation()
def sent(source: str, to: str) -> Generator[FileUploadCommand]:
    yield FileUploadCommand(source, to)


@dataclass
class Prepared:
    """This computer as a host that operations are prepared for, and every command to it so far."""

    state: State
    host: Host
    commands: list[str] = field(default_factory=list)

    def run(self) -> None:
        self.state.set_stage(StateStage.Execute)
        run_ops(self.state)
        assert self.host not in self.state.failed_hosts


@contextmanager
def prepared(deploy: Callable[[], object], looks_first: bool = False) -> Iterator[Prepared]:
    inventory = Inventory((["@local"], {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(), check_for_changes=looks_first)  # type: ignore[no-untyped-call]
    here = inventory.get_host("@local")
    with ctx_state.use(state), ctx_config.use(state.config), ctx_host.use(here):
        here.connect()
        state.activate_host(here)
        state.set_stage(StateStage.Prepare)
        it = Prepared(state, here)
        run = here.connector.run_shell_command

        def counted(command: StringCommand, *arguments: Any, **named: Any) -> Any:
            it.commands.append(str(command))
            return run(command, *arguments, **named)

        here.connector.run_shell_command = counted  # type: ignore[method-assign]
        with contained():
            questions.listen()
            deploy()
        yield it


def files(folder: Path, me: str, content: str = "ours\n") -> None:
    for number in range(9):
        file = File(str(folder / f"file{number}"), content, me)
        files_in_place(name=f"File {number}", files=[file])


def test_nine_operations_with_nothing_to_do_take_one_command(tmp_path: Path, me: str) -> None:
    for number in range(9):
        (tmp_path / f"file{number}").write_text("ours\n")
        (tmp_path / f"file{number}").chmod(0o644)
    with prepared(lambda: files(tmp_path, me)) as it:
        it.run()
        assert it.commands == ["sh"]


def test_what_was_expected_comes_with_the_first_question(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(f"{name}\n")

    def a() -> str:
        return host.get_fact(Content, path=str(tmp_path / "a"))

    def b() -> str:
        return host.get_fact(Content, path=str(tmp_path / "b"))

    def look() -> None:
        questions.expect(a, b)
        assert (a(), b(), a()) == ("a", "b", "a")

    with prepared(look) as it:
        assert it.commands == ["sh"]


def test_an_operation_sees_what_one_before_it_has_changed(tmp_path: Path, me: str) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_text("old\n")

    def deploy() -> None:
        files_in_place(name="First", files=[File(str(first), "new\n", me)])
        copied(name="Second", source=str(first), to=str(second))

    with prepared(deploy) as it:
        it.run()
    assert second.read_text() == "new\n"


def test_an_operation_sees_what_an_upload_before_it_has_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, first, second = (tmp_path / name for name in ("ours", "first", "second"))
    ours.write_text("new\n")
    for path in (first, second):
        path.write_text("old\n")

    def deploy() -> None:
        sent(name="First", source=str(ours), to=str(first))
        copied(name="Second", source=str(first), to=str(second))

    def put_file(source: str, to: str, **named: Any) -> bool:
        # As SFTP does it: no command has a part in it.
        shutil.copyfile(source, to)
        return True

    monkeypatch.setattr(LocalConnector, "put_file", lambda self, *a, **named: put_file(*a, **named))
    with prepared(deploy) as it:
        it.run()
    assert second.read_text() == "new\n"


def test_what_was_seen_too_long_ago_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_text("old\n")
    with prepared(lambda: copied(name="Second", source=str(first), to=str(second))) as it:
        # Somebody else, while the operator thinks about whether to go on.
        first.write_text("theirs\n")
        monkeypatch.setattr(questions, "FRESH", 0)
        it.run()
    assert second.read_text() == "theirs\n"


def test_what_can_not_be_answered_yet_is_asked_when_it_comes(tmp_path: Path, me: str) -> None:
    """As is what a program tells that an operation before has yet to install."""
    first, second = tmp_path / "first", tmp_path / "second"
    second.write_text("old\n")

    def deploy() -> None:
        files_in_place(name="First", files=[File(str(first), "new\n", me)])
        copied(name="Second", source=str(first), to=str(second))

    with prepared(deploy) as it:
        it.run()
    assert second.read_text() == "new\n"


def test_what_can_not_be_answered_fails_its_operation_as_ever(tmp_path: Path) -> None:
    never = str(tmp_path / "never")
    with prepared(lambda: copied(name="Second", source=never, to=never)) as it:
        assert it.host not in it.state.failed_hosts
        with pytest.raises(PyinfraError, match="No hosts remaining"):
            it.run()


@pytest.mark.parametrize("looks_first", [True, False])
def test_what_would_change_is_known_before_anything_does_where_that_is_wanted(
    tmp_path: Path, me: str, looks_first: bool
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    for path in (right, wrong):
        path.write_text(f"{path.name}\n")
        path.chmod(0o644)

    def deploy() -> None:
        files_in_place(name="Right", files=[File(str(right), "right\n", me)])
        files_in_place(name="Wrong", files=[File(str(wrong), "right\n", me)])

    with prepared(deploy, looks_first) as it:
        expected = (
            {"Right": False, "Wrong": True} if looks_first else {"Right": None, "Wrong": None}
        )
        found = {
            "".join(it.state.get_op_meta(each).names): data.operation_meta._maybe_is_change
            for each, data in it.state.ops[it.host].items()
        }
        counts = it.state.get_meta_for_host(it.host)
        assert found == expected
        assert (counts.ops_change, counts.ops_no_change) == ((1, 1) if looks_first else (0, 2))
        assert it.commands == ["sh"]
    assert wrong.read_text() == "wrong\n"


@pytest.mark.parametrize(
    "command",
    [
        *("true", "echo a", "printf a", "echo; echo", "printf '\\na\\n\\n'", "echo 'it'\"'\"'s'"),
        *("cat", "echo out; echo err >&2", "exit 0", "echo a # comment", "trap 'echo bye' EXIT"),
    ],
)
def test_an_answer_is_what_it_would_be_if_it_were_asked_alone(command: str, tmp_path: Path) -> None:
    class Lines(FactBase[list[str]]):
        default = list

        def process(self, output: list[str]) -> list[str]:
            return output

    Lines.command = lambda self: command
    found: list[list[str]] = []
    (tmp_path / "file").write_text("the file\n")

    class Long(FactBase[str]):
        """More than a shell reads at once of what comes on its standard input."""

        def command(self) -> str:
            return f"cat {tmp_path}/file # {'x' * 20_000}"

    def last() -> str:
        return host.get_fact(Long)

    def ask() -> None:
        found.append(host.get_fact(Lines))

    def together() -> None:
        questions.expect(ask, last)
        ask()
        assert last() == "the file"

    with prepared(ask) as alone, prepared(together) as it:
        assert (alone.commands, it.commands) == ([command], ["sh"])
    assert found[0] == found[1]
