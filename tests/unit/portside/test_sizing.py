"""The two promises about memory, for every size of machine."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from portside.quantities import GIB, MIB
from portside.sizing import (
    GENERATION,
    MIN_RAM,
    SUPERVISOR,
    Machine,
    Sizing,
    explain,
    generations,
    size,
)

MACHINES = st.builds(
    Machine,
    ram=st.integers(MIN_RAM, 1024 * GIB) | st.integers(MIN_RAM, 16 * GIB),
    cores=st.integers(1, 128),
    disk=st.integers(1 * GIB, 100_000 * GIB),
)
SMALLEST = Machine(ram=MIN_RAM, cores=128, disk=8 * GIB)
LARGEST = Machine(ram=1024 * GIB, cores=128, disk=1024 * GIB)


@given(MACHINES)
@example(SMALLEST)
@example(LARGEST)
def test_upload_buffers_stay_under_a_quarter_of_ram(machine: Machine) -> None:
    sizing = size(machine)
    assert sizing.upload_buffers_total <= machine.ram * 0.25
    least = sizing.upload_slots * (sizing.upload_memory + sizing.nginx_body_buffer)
    assert sizing.upload_buffers_total >= least


@given(MACHINES)
@example(SMALLEST)
@example(LARGEST)
def test_everything_of_ours_stays_under_sixty_percent_of_ram(machine: Machine) -> None:
    sizing = size(machine)
    assert sizing.everything_total <= machine.ram * 0.60
    least = sizing.upload_buffers_total + sizing.upload_slots * sizing.tcp_window
    assert sizing.everything_total > least


@pytest.mark.parametrize(
    ("ram", "slots"), [(4 * GIB, 100), (round(3.8 * GIB), 100), (512 * MIB, 20)]
)
@pytest.mark.parametrize("cores", [1, 2, 8, 128])
def test_the_sizes_people_rent_carry_what_is_promised(ram: int, cores: int, slots: int) -> None:
    assert size(Machine(ram=ram, cores=cores, disk=40 * GIB)).upload_slots >= slots


@given(MACHINES)
@example(SMALLEST)
@example(LARGEST)
def test_processes_that_drain_stay_within_the_units_memory(machine: Machine) -> None:
    sizing = size(machine)
    uploads = sizing.upload_slots * sizing.upload_memory
    # One more while a node goes back.
    taken = SUPERVISOR + (generations(sizing) + 1) * GENERATION + uploads
    assert taken <= sizing.agent_memory_max


@pytest.mark.parametrize(("ram", "most"), [(384, 2), (512, 3), (1024, 5), (4096, 8)])
def test_a_node_changes_over_while_others_still_drain(ram: int, most: int) -> None:
    assert generations(size(Machine(ram=ram * MIB, cores=1, disk=20 * GIB))) == most


@given(MACHINES)
@example(SMALLEST)
def test_the_numbers_fit_each_other(machine: Machine) -> None:
    sizing = size(machine)
    assert sizing.upload_slots >= 1
    assert sizing.gunicorn_threads > sizing.upload_slots
    assert sizing.upload_memory >= sizing.ring_buffer * sizing.ring_buffers
    assert sizing.dirty_background_bytes < sizing.dirty_bytes
    assert sizing.writeback_chunk <= sizing.sync_window
    assert sizing.agent_memory_high < sizing.agent_memory_max <= machine.ram
    # Each upload has a connection to the client and one to the agent, on one worker at worst.
    assert sizing.nginx_connections >= 2 * sizing.upload_slots
    assert sizing.open_files >= 2 * sizing.nginx_connections
    # The agent's own memory at full admission lies under the limit that would kill it.
    agent = sizing.upload_slots * sizing.upload_memory
    assert agent < sizing.agent_memory_high


@given(MACHINES, st.integers(0, 64 * GIB))
def test_more_ram_never_lowers_a_limit(machine: Machine, more: int) -> None:
    larger = Machine(machine.ram + more, machine.cores, machine.disk)
    before, after = size(machine), size(larger)
    for name in ("memory_kept_free", "dirty_bytes", "agent_memory_max", "nginx_connections"):
        assert getattr(after, name) >= getattr(before, name)


@pytest.mark.parametrize(("ram", "cores"), [(MIN_RAM - 1, 1), (0, 1), (GIB, 0)])
def test_a_machine_that_is_too_small_is_refused(ram: int, cores: int) -> None:
    with pytest.raises(ValueError, match=r"too little|at least one core"):
        size(Machine(ram=ram, cores=cores, disk=GIB))


def test_every_number_is_explained() -> None:
    rows = explain(size(Machine(ram=4 * GIB, cores=2, disk=80 * GIB)))
    assert [name for name, _, _ in rows] == [each.name for each in fields(Sizing)]
    assert all(value and reason for _, value, reason in rows)
