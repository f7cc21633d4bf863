"""Where programs are on a node: the deploy puts them there, and people's commands look there."""

from __future__ import annotations

from deploys import layout
from portside.operator.programs import AGENT, CONTROL, PROGRAMS


def test_the_deploy_and_the_tasks_mean_the_same_places() -> None:
    assert (layout.RELEASES, layout.CURRENT) == ("/opt/portside/releases", "/opt/portside/current")
    assert layout.CONTROL_CURRENT == "/opt/portside/control/current"
    assert layout.AGENT_COMMAND == f"{layout.CURRENT}/venv/bin/portside-agent" == AGENT.command
    assert layout.AGENT_SERVICE == "portside-agent.service"
    assert layout.CONTROL_WORKER_SERVICE == "portside-control-worker.service"
    assert PROGRAMS["storage"].services == ("portside-agent", "portside-agent-worker")


def test_a_command_runs_as_the_programs_own_user() -> None:
    assert CONTROL.as_its_user("app", "list") == (
        *("runuser", "-u", "portside-control", "--"),
        *("/opt/portside/control/current/venv/bin/portside-control", "app", "list"),
    )
