"""A reload succeeds once the service itself says so, and not before: real programs of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploys import layout
from deploys.components import monitoring_server
from tests.support.deploys.this_computer import Programs
from tests.support.prometheus import Alertmanager, Prometheus

Service = Prometheus | Alertmanager
WRONG = "route: [\n"


@pytest.fixture(params=[layout.PROMETHEUS_SERVICE, layout.ALERTMANAGER_SERVICE])
def service(request: pytest.FixtureRequest) -> str:
    """The name of its unit."""
    return str(request.param)


@pytest.fixture
def running(service: str, tmp_path: Path) -> Iterator[Service]:
    """The program itself."""
    home = tmp_path / "service"
    found: Service
    found = Prometheus(home, []) if service == layout.PROMETHEUS_SERVICE else Alertmanager(home)
    yield found
    found.end()


@pytest.fixture
def act(service: str, running: Service, tmp_path: Path) -> Callable[[str], str]:
    """Runs a deploy's shell with a systemctl that reloads the running program; the complaint."""
    programs = Programs(tmp_path)
    programs.make(
        "systemctl",
        f'case "$*" in "is-active --quiet {service}") exit 0 ;; '
        f'"reload {service}") kill -HUP {running.pid} ;; *) exit 1 ;; esac',
    )
    programs.make("journalctl", "echo as the journal has it")

    def run(shell: str) -> str:
        address = monitoring_server.ADDRESSES[service]
        moved = shell.replace(address, f"127.0.0.1:{running.port}").replace("seq 120", "seq 6")
        done = programs.run(f"set -e\n{moved}")
        return done.stderr if done.returncode else ""

    return run


def test_settings_that_are_taken_up_are_waited_for(service: str, act: Callable[[str], str]) -> None:
    assert act(monitoring_server.reloaded(service)) == ""


def test_settings_that_are_not_taken_up_fail_the_deploy_and_the_old_ones_go_on(
    service: str, running: Service, act: Callable[[str], str]
) -> None:
    # The second in which it started may be this one.
    time.sleep(1.1)
    running.settings.write_text(WRONG)
    complaint = act(monitoring_server.reloaded(service))
    assert "goes on with its old settings" in complaint
    assert "as the journal has it" in complaint
    running.wait("/-/ready")


def test_one_that_is_gone_is_told_of(
    service: str, running: Service, act: Callable[[str], str]
) -> None:
    shell = monitoring_server.until_it_answers(service, "/-/ready", "-")
    assert act(shell) == ""
    running.end()
    assert "doesn't answer" in act(shell)
