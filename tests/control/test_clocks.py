"""Clocks that go wrong, the control plane's and the nodes', in any order: a machine of them all.

Whatever they say, work is given to one node at a time, and once they agree again every node is
there within a minute, every file has its copies, and nobody waits for a moment that isn't near.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from control.db.database import Database
from control.worker import rounds
from control.worker.rounds import Round, Routine
from tests.support.control.simulation import EVERY, NODES, Simulation

MINUTE = 60.0
DAY = 86400.0

DELAYS = {"heartbeat_every": EVERY, "dead_after": 3 * EVERY, "repair_after": 4 * EVERY}
"""A worker that goes a round every 15 seconds wasn't away for as long as a node may be silent."""

node_ids = st.sampled_from(NODES)
errors = st.sampled_from((0.0, 30.0, -30.0, 120.0, -120.0, DAY, -DAY, 400 * DAY, -400 * DAY))
"""Seconds by which a clock is ahead: within the leeway, beyond it, and out of all bounds."""


class ClockedCluster(Simulation):
    """Nodes and a control plane, each with a clock of its own. `clock` is the control plane's."""

    error = 0.0
    """Seconds by which the control plane's clock is ahead."""

    def __init__(self, folder: Path, database: Database, url: str) -> None:
        self.errors = dict.fromkeys(NODES, 0.0)
        super().__init__(folder, database, url, **DELAYS)

    def sets(self, error: float) -> None:
        """The control plane's clock is set: so many seconds ahead of what is right."""
        self.clock.pass_by(error - self.error)
        self.error = error
        self._compare()

    def sets_node(self, node_id: str, error: float) -> None:
        """A node's clock is set."""
        self.errors[node_id] = error
        self._compare()

    def _compare(self) -> None:
        self.skews = {each: error - self.error for each, error in self.errors.items()}

    def worker(self) -> Callable[[], None]:
        """As a real one: it goes no round that isn't due."""
        routines = (
            Routine("silence", 0, rounds.notice_silence),
            Routine("leases", 0, rounds.give_back),
            *rounds.of_copies(self.settings, self.database, self.clock),
        )

        def go_round() -> None:
            if rounds.claim(self.settings, self.database, self.clock.now):
                self.snapshots.forget()
                for routine in routines:
                    routine.run(Round(self.settings, self.database, self.clock.now))

        return go_round

    def reasons(self) -> dict[str, tuple[str, ...]]:
        """Why nothing is placed on nodes, of those where it isn't."""
        self.snapshots.forget()
        nodes = self.snapshots.current().nodes
        return {each: node.reasons for each, node in nodes.items() if node.reasons}


class Clocks(RuleBasedStateMachine):
    """Time passes by the cluster's steps: 15 seconds each."""

    folder: Path
    schema: bytes
    """A database with the schema and nothing in it."""
    database: Database
    """One for all examples: statements are compiled once for an engine."""

    def __init__(self) -> None:
        super().__init__()
        path = self.folder / "control.sqlite"
        path.write_bytes(self.schema)
        self.cluster = ClockedCluster(self.folder, self.database, f"sqlite:///{path}")
        self.files = [self.cluster.has(*pair) for pair in (("s01", "s02"), ("s02", "s03"))]

    def teardown(self) -> None:
        try:
            self.everybody_agrees_again()
        finally:
            # The last connection takes the log along.
            self.database.engine.dispose()

    @rule(error=errors)
    def the_control_planes_clock_is_set(self, error: float) -> None:
        self.cluster.sets(error)

    @rule(node_id=node_ids, error=errors)
    def a_nodes_clock_is_set(self, node_id: str, error: float) -> None:
        self.cluster.sets_node(node_id, error)

    @rule(steps=st.integers(1, 6))
    def time_passes(self, steps: int) -> None:
        self.cluster.goes_on(steps * EVERY)
        nodes = self.cluster.snapshots.current().nodes
        for node_id, disk in self.cluster.disks.items():
            if disk.up:
                heard_at = nodes[node_id].signs.heard_at
                assert heard_at is not None
                assert abs((self.cluster.clock.now - heard_at).total_seconds()) < EVERY

    @rule(node_id=node_ids)
    def a_node_falls_silent(self, node_id: str) -> None:
        """It keeps its files; only one at a time, so that none of them is out of reach."""
        for each, disk in self.cluster.disks.items():
            disk.up = each != node_id

    @rule(node_id=node_ids)
    def a_node_starts_anew(self, node_id: str) -> None:
        """It has no ticket then."""
        self.cluster.disks[node_id].up = True
        self.cluster.tickets.pop(node_id, None)

    @rule(first=node_ids, second=node_ids)
    def a_file_is_stored(self, first: str, second: str) -> None:
        disks = self.cluster.disks
        if len(self.files) < 8 and disks[first].up and disks[second].up:
            self.files.append(self.cluster.has(*{first, second}))

    @invariant()
    def nobody_has_anothers_work(self) -> None:
        held = [lease for disk in self.cluster.disks.values() for lease in disk.leases if disk.up]
        ids = {lease.lease_id for lease in held}
        places = {(lease.kind, lease.file_id, lease.target) for lease in held if lease.target}
        assert len(ids) == len(held)
        assert len(places) == len([lease for lease in held if lease.target])

    def everybody_agrees_again(self) -> None:
        for node_id, disk in self.cluster.disks.items():
            disk.up = True
            self.cluster.sets_node(node_id, 0.0)
        self.cluster.sets(0.0)
        self.cluster.goes_on(MINUTE)
        assert self.cluster.reasons() == {}
        factor = self.cluster.settings.factor
        self.cluster.goes_on_until(
            lambda: all(len(self.cluster.holders(each)) == factor for each in self.files)
        )
        for each in self.files:
            assert self.cluster.file(each).present == factor
        self.cluster.counts_are_right()


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, migrated_sqlite: Path) -> Iterator[None]:
    """Where the clusters are, one after the other."""
    Clocks.folder = tmp_path_factory.mktemp("clocks")
    Clocks.schema = migrated_sqlite.read_bytes()
    Clocks.database = Database(f"sqlite:///{Clocks.folder / 'control.sqlite'}")
    yield
    Clocks.database.close()


TestClocks = Clocks.TestCase
TestClocks.settings = settings(
    max_examples=12,
    stateful_step_count=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
