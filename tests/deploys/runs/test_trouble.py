"""One host's trouble is that host's: the others go on, and the last words say what and why."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pyinfra import logger
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import FactBase
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import operation
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.connectors.fake import FakeConnector
from pyinfra.context import ctx_config, ctx_host, ctx_state, host

from deploys.runs import trouble
from deploys.runs.complaints import Complaints
from deploys.runs.remedies import explain
from deploys.runs.summary import summary
from deploys.runs.trouble import PREPARING, RunRefused, Trouble, contained
from portside.operator.keystore import KeystoreError

FAILS = {">&2; exit 1": {"success": False}}
"""The fake host's shell, which succeeds otherwise, obeys a command that fails."""


class Answer(FactBase[str]):
    def command(self) -> str:
        return "the answer"


@operation()
def touched(what: str, error: Exception | None = None) -> Generator[str]:
    if error is not None and host.name == "@fake/s01":
        raise error
    yield f"touch {what}"


@operation()
def by_the_answer() -> Generator[str]:
    host.get_fact(Answer)
    yield "rm -rf everything"


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of other tests, and pyinfra's log listened to."""
    complaints = Complaints()
    monkeypatch.setattr(trouble, "complaints", complaints)
    monkeypatch.setattr(trouble, "troubles", {})
    logger.addHandler(complaints)
    logger.setLevel(logging.INFO)
    yield
    logger.removeHandler(complaints)
    # pyinfra leaves it behind where its block ended by an exception.
    ctx_host.reset()


@contextmanager
def prepared(
    deploy: Callable[[], object],
    responses: dict[str, dict[str, Any]] | None = None,
    looks_first: bool = True,
) -> Iterator[State]:
    """A run on s01 and s02, as far as it is before the first operation; with -y it doesn't look
    first at what would change."""
    hosts: Any = [
        (
            f"@fake/{name}",
            {
                "fake_responses": (responses or {}).get(name, {}),
                "fake_delay": 0,
                "fake_delay_jitter": 0,
            },
        )
        for name in ("s01", "s02")
    ]
    inventory = Inventory((hosts, {}))  # type: ignore[no-untyped-call]
    state = State(inventory, Config(), check_for_changes=looks_first)  # type: ignore[no-untyped-call]
    with ctx_state.use(state), ctx_config.use(state.config):
        state.set_stage(StateStage.Connect)
        for each in inventory:
            each.connect()
            state.activate_host(each)
        state.set_stage(StateStage.Prepare)
        for each in inventory:
            with ctx_host.use(each), contained():
                deploy()
        for each in inventory:
            commands_of(each).clear()
        yield state


def commands_of(host: Host) -> list[str]:
    assert isinstance(host.connector, FakeConnector)
    return host.connector.executed_commands


def run(state: State) -> dict[str, list[str]]:
    """Run it to its end: the commands of each host."""
    state.set_stage(StateStage.Execute)
    run_ops(state)
    return {each.name.removeprefix("@fake/"): commands_of(each) for each in state.inventory}


def names(hosts: set[Host]) -> set[str]:
    return {each.name for each in hosts}


@pytest.mark.parametrize(
    "error",
    [PyinfraError("no certificate"), KeystoreError("no key"), FileNotFoundError("no file")],
)
def test_a_host_that_is_refused_is_left_out_and_the_others_go_on(error: Exception) -> None:
    def deploy() -> None:
        touched(name="First", what="first")
        if host.name == "@fake/s01":
            raise error
        touched(name="Second", what="second")

    with prepared(deploy) as state:
        commands = run(state)
    assert commands == {"s01": [], "s02": ["touch first", "touch second"]}
    assert names(state.failed_hosts) == {"@fake/s01"}
    assert trouble.troubles == {"@fake/s01": Trouble("@fake/s01", PREPARING, str(error))}
    # It is in nobody's count.
    assert all(not state.ops[each] for each in state.failed_hosts)


def test_what_concerns_the_whole_run_ends_it() -> None:
    def deploy() -> None:
        raise RunRefused("somebody else is at it")

    with pytest.raises(RunRefused, match="somebody else"), prepared(deploy):
        pass


def test_the_last_hosts_refusal_is_told_as_it_is() -> None:
    def deploy() -> None:
        raise PyinfraError(f"not {host.name}")

    with pytest.raises(PyinfraError, match="not @fake/s02"), prepared(deploy):
        pass


def test_a_fault_of_the_deploy_itself_is_no_hosts_trouble() -> None:
    def deploy() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), prepared(deploy):
        pass


@pytest.mark.parametrize(
    "error", [PyinfraError("the roster is gone"), KeystoreError("the roster is gone"), EOFError()]
)
def test_what_python_raises_in_an_operation_fails_it_on_that_host_alone(error: Exception) -> None:
    failing = {"s01": FAILS}

    def deploy() -> None:
        touched(name="First", what="first", error=error)
        touched(name="Second", what="second")

    with prepared(deploy, failing, looks_first=False) as state:
        commands = run(state)
    assert commands["s02"] == ["touch first", "touch second"]
    assert not any("touch" in command for command in commands["s01"])
    assert names(state.failed_hosts) == {"@fake/s01"}
    assert trouble.troubles["@fake/s01"].where == "First"
    [s01] = state.failed_hosts
    assert len(state.ops[s01]) == 1, "what was never begun is no error of its own"


def test_nothing_is_done_by_a_fact_that_could_not_be_read() -> None:
    unreadable = {"the answer": {"success": False, "stderr": "No space left on device"}}

    def deploy() -> None:
        by_the_answer(name="By the answer")

    with prepared(deploy, {"s01": {**unreadable, **FAILS}}, looks_first=False) as state:
        commands = run(state)
    assert not any("rm -rf" in command for command in commands["s01"])
    assert commands["s02"][-1] == "rm -rf everything"
    assert trouble.troubles["@fake/s01"] == Trouble(
        "@fake/s01",
        "By the answer",
        "No space left on device",
        explain(["No space left on device"])[1],
    )


def test_the_last_words_name_host_operation_reason_and_remedy_in_one_line() -> None:
    assert summary(
        [
            Trouble("s03", "Base | Packages", "E: full", "make room"),
            Trouble("s02", PREPARING, "no keys: run `portside keys init`"),
            Trouble("s01", PREPARING, "no keys: run `portside keys init`"),
        ],
        hosts=5,
    ) == [
        "3 of 5 hosts aren't as they should be:",
        "s01, s02: before anything was changed: no keys: run `portside keys init`",
        "s03: Base | Packages: E: full: make room",
    ]
    assert summary([], hosts=5) == []
    [first, _] = summary([Trouble("s01", "connecting", "no")], hosts=5)
    assert first == "1 of 5 hosts isn't as it should be:"
