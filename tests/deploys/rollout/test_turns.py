"""Nodes change one after the other: in the order of the cluster file, the first alone, and no other
once one has failed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any

import gevent
import pytest
from pyinfra.api.command import FunctionCommand
from pyinfra.api.config import Config
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.inventory import Inventory
from pyinfra.api.operation import operation
from pyinfra.api.operations import run_ops
from pyinfra.api.state import State, StateStage
from pyinfra.context import ctx_config, ctx_host, ctx_state, host

from deploys.rollout.turns import Held, Turn, TurnFailed, in_turn, nobody_failed

NODES = ("s03", "s01", "s02", "s04")
"""As they come in the cluster file."""


@dataclass
class Run:
    """A run of pyinfra over hosts that aren't there, and what was done on them, in order."""

    state: State
    done: list[str] = field(default_factory=list)
    idle: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()
    new: frozenset[str] = frozenset()
    unproven: frozenset[str] = frozenset()
    batch: int = 1

    def to_its_end(self, part: Callable[[], None] | None = None) -> None:
        """Prepare the part on every host, then run. Hosts that fail end theirs."""
        with ctx_state.use(self.state), ctx_config.use(self.state.config):
            self.state.set_stage(StateStage.Prepare)
            for each in self.state.inventory:
                self.state.activate_host(each)
                with ctx_host.use(each):
                    (part or self.part)()
            self.state.set_stage(StateStage.Execute)
            run_ops(self.state)

    def part(self) -> None:
        before(name="Before", run=self)
        with in_turn(self.turn, name="In turn", anyway=host.name in self.unproven):
            changed(name="Changed", run=self, what="a")
            changed(name="Changed more", run=self, what="b")
        after(name="After", run=self)

    def turn(self, held: Held) -> Turn:
        def action() -> None:
            self.done.append(f"{held.host.name} begins")
            gevent.sleep(0.001)
            failed = held.run()
            self.done.append(f"{held.host.name} ends")
            if failed:
                raise TurnFailed(f"{failed} failed")

        return Turn(action, alone=held.host.name not in self.new, batch=self.batch)

    def begun(self) -> list[str]:
        return [each.split()[0] for each in self.done if each.endswith("begins")]

    def failed(self) -> set[str]:
        return {each.name for each in self.state.failed_hosts}

    def results(self, name: str) -> dict[str, bool]:
        """Whether an operation changed something, by host."""
        return {
            each.name: data.operation_meta.did_change()
            for each in self.state.inventory
            for op_hash, data in self.state.ops[each].items()
            if name in self.state.op_meta[op_hash].names and data.operation_meta.is_complete()
        }


@operation()
def before(run: Run) -> Generator[str]:
    yield from ()


@operation()
def changed(run: Run, what: str) -> Generator[FunctionCommand | str]:
    if host.name in run.idle or f"{host.name} {what}" in run.done:
        return
    if host.name in run.broken and what == "b":
        yield "no such command"
    yield FunctionCommand(run.done.append, (f"{host.name} {what}",), {})


@operation()
def after(run: Run) -> Generator[FunctionCommand]:
    yield FunctionCommand(run.done.append, (f"{host.name} after",), {})


@pytest.fixture
def run() -> Iterator[Run]:
    data: dict[str, Any] = {
        "fake_responses": {"no such command": {"success": False}},
        "fake_delay": 0,
        "fake_delay_jitter": 0,
    }
    # pyinfra's @fake names the connector, not the host.
    hosts: Any = ([(f"@fake/{name}", data) for name in NODES], {})
    inventory = Inventory(hosts)  # type: ignore[no-untyped-call]
    state = State(inventory, Config())  # type: ignore[no-untyped-call]
    for each in state.inventory:
        each.connect()
    yield Run(state)


def _fake(*names: str) -> frozenset[str]:
    return frozenset(f"@fake/{name}" for name in names)


def _hosts(*names: str) -> list[str]:
    return [f"@fake/{name}" for name in names]


def test_nodes_change_in_the_order_of_the_cluster_file_and_never_two_at_once(run: Run) -> None:
    run.to_its_end()
    wanted = [f"{each} {what}" for each in _hosts(*NODES) for what in ("begins", "a", "b", "ends")]
    assert run.done[: len(wanted)] == wanted
    assert sorted(run.done[len(wanted) :]) == sorted(f"{each} after" for each in _hosts(*NODES))


def test_the_first_is_alone_and_the_others_come_in_batches(run: Run) -> None:
    run.batch = 2
    run.to_its_end()
    marks = [each for each in run.done if each.endswith(("begins", "ends"))]
    s03, s01, s02, s04 = _hosts(*NODES)
    assert marks[:2] == [f"{s03} begins", f"{s03} ends"]
    assert marks[2:4] == [f"{s01} begins", f"{s02} begins"]
    assert set(marks[4:6]) == {f"{s01} ends", f"{s02} ends"}
    assert marks[6:] == [f"{s04} begins", f"{s04} ends"]


def test_after_one_that_failed_no_other_is_touched(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run.broken = _fake("s01")
    run.to_its_end()
    assert run.begun() == _hosts("s03", "s01")
    assert run.failed() == set(_hosts("s01", "s02", "s04"))
    assert [each for each in run.done if each.endswith("after")] == ["@fake/s03 after"]
    said = [each.message for each in caplog.records if "left as it was" in each.message]
    assert len(said) == 2
    assert all("@fake/s01 failed" in each for each in said)


def test_a_failed_canary_stops_everything(run: Run) -> None:
    run.broken = _fake("s03")
    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run.to_its_end()
    assert run.begun() == _hosts("s03")


def test_whatever_breaks_a_turn_off_stops_the_others(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks_off(held: Held) -> Turn:
        def action() -> None:
            run.done.append(f"{held.host.name} begins")
            raise ZeroDivisionError("nobody thought of it")

        return Turn(action, alone=True, batch=1)

    def part() -> None:
        with in_turn(breaks_off, name="In turn"):
            changed(name="Changed", run=run, what="a")

    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run.to_its_end(part)
    assert run.begun() == _hosts("s03")
    assert "nobody thought of it" in caplog.text


def test_a_node_on_which_all_is_as_it_should_be_has_no_turn(run: Run) -> None:
    run.idle = _fake("s03", "s02")
    run.to_its_end()
    assert run.begun() == _hosts("s01", "s04")
    assert run.results("In turn") == {each: each in _hosts("s01", "s04") for each in _hosts(*NODES)}


def test_a_node_whose_change_was_never_proven_has_a_turn_without_anything_to_change(
    run: Run,
) -> None:
    run.idle = _fake(*NODES)
    run.unproven = _fake("s01")
    run.to_its_end()
    assert run.begun() == _hosts("s01")
    assert set(run.results("Changed").values()) == {False}


def test_a_second_run_changes_nothing(run: Run) -> None:
    run.idle = _fake(*NODES)
    run.to_its_end()
    for name in ("In turn: what there is to do", "In turn", "Changed", "Changed more"):
        assert set(run.results(name).values()) == {False}


def test_what_was_done_in_a_turn_is_done_once_and_counts_as_changed(run: Run) -> None:
    run.idle = _fake("s02")
    run.to_its_end()
    assert sorted(run.done).count("@fake/s01 a") == 1
    assert run.results("Changed") == {each: each != "@fake/s02" for each in _hosts(*NODES)}


def test_new_nodes_wait_for_nobody_and_stop_nobody(run: Run) -> None:
    run.new = _fake("s01", "s02")
    run.broken = _fake("s02")
    run.to_its_end()
    assert run.begun() == _hosts("s01", "s02", "s03", "s04")
    assert run.failed() == set(_hosts("s02"))


def test_who_comes_after_them_is_left_as_it_was_too(run: Run) -> None:
    run.broken = _fake("s01")

    def part() -> None:
        run.part()
        nobody_failed(name="Nodes have taken over")
        after(name="After all", run=run)

    with pytest.raises(PyinfraError, match="No hosts remaining"):
        run.to_its_end(part)
    assert [each for each in run.done if each.endswith("after")] == ["@fake/s03 after"]
