"""What a change of a service comes to: the supervisor as it is installed, its unit, the shell."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deploys import layout
from deploys.components import agent, control
from deploys.operations import reloading
from portside.serving.supervisor import HANDOVER, READY_VARIABLE
from tests.support.deploys.nodes import MakeControl, MakeNode


def test_what_serves_runs_as_installed_without_any_release(tmp_path: Path) -> None:
    library = tmp_path / "library"
    for each in reloading.serving_files():
        path = library / Path(each.path).relative_to(layout.SERVE_LIBRARY)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(each.content.replace(layout.SERVE_LIBRARY, str(library)))
    command = library / Path(layout.SERVE_COMMAND).name
    # In a bare Python, as Debian's: -S leaves out whatever is installed beside.
    asked = ["/usr/bin/env", "python3", "-ISB", str(command), "--help"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "wait until what was asked last serves" in done.stdout


def test_every_folder_of_what_serves_is_made() -> None:
    folders = {each.path for each in reloading.serving_directories()}
    assert {str(Path(each.path).parent) for each in reloading.serving_files()} <= folders


@pytest.fixture
def units(make_node: MakeNode, make_control: MakeControl) -> list[str]:
    """Those that are run by generations."""
    return [
        agent.units(make_node())[layout.AGENT_SERVICE],
        control.units(make_control())[layout.CONTROL_SERVICE],
    ]


def test_the_units_leave_to_the_supervisor_what_it_relies_on(units: list[str]) -> None:
    for unit in units:
        lines = unit.splitlines()
        # A restart ends the supervisor alone, by the signal that it hands over at.
        assert f"RestartKillSignal={HANDOVER.name}" in lines
        assert "KillMode=process" in lines
        # The socket and its name stay.
        assert "FileDescriptorStoreMax=1" in lines
        assert "RuntimeDirectoryPreserve=restart" in lines
        # A restart takes away the private /tmp of those that drain.
        assert "PrivateTmp=yes" in lines
        assert "Environment=TMPDIR=/dev/shm" in lines


@pytest.mark.parametrize(
    "name",
    [
        *(layout.AGENT_SERVICE, layout.WORKER_SERVICE, layout.CONTROL_SERVICE),
        *(layout.CERTIFICATE_SERVICE, layout.DISK_SERVICE),
    ],
)
def test_one_process_that_is_killed_for_memory_ends_no_other(name: str) -> None:
    template = layout.PROJECT_ROOT / "templates" / "systemd" / f"{name}.j2"
    assert "OOMPolicy=continue" in template.read_text().splitlines()


def test_gunicorn_tells_that_it_can_serve(make_node: MakeNode, make_control: MakeControl) -> None:
    for settings in (
        agent.gunicorn_settings(make_node()),
        control.gunicorn_settings(make_control()),
    ):
        assert READY_VARIABLE in settings
        assert "def post_worker_init(worker):" in settings


def test_a_change_that_is_not_taken_over_fails_with_the_services_last_words() -> None:
    for shell in (
        reloading.next_generation("a.service", "/run/a.sock"),
        reloading.unit_taken_over("a.service", "/run/a.sock"),
    ):
        subprocess.run(["sh", "-n", "-c", shell], check=True)
        programs = """
            systemctl() {
                case "$1" in show) echo 0 ;; is-active|daemon-reload|enable) ;; *) return 1 ;; esac
            }
            journalctl() { echo "its last words"; }
        """
        done = subprocess.run(
            ["sh", "-c", f"{programs}\n{shell}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert done.stderr == "a.service has not taken over:\nits last words\n"


def test_who_goes_back_waits_for_no_room() -> None:
    shell = reloading.one_beyond("/run/a.sock", "somebody")
    for verbs, said in (
        ("wait beyond", "-u somebody -- serve --socket /run/a.sock beyond\n"),
        ("", ""),
    ):
        programs = f"serve() {{ echo {verbs}; }}; runuser() {{ echo $*; return 1; }}"
        line = shell.replace(layout.SERVE_COMMAND, "serve")
        done = subprocess.run(
            ["sh", "-ec", f"{programs}; {line}"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_gunicorn_that_a_unit_ran_by_itself_is_ended_without_its_worker() -> None:
    shell = reloading.unit_taken_over("a.service", "/run/a.sock")
    # The name of a function has no slash.
    shell = shell.replace(f"{layout.SERVE_COMMAND} --socket", "waits")
    programs = """
        systemctl() { [ "$1" != show ] || echo $old; }
        mount() { :; }
        waits() {
            if [ "$2" = inherit ]; then echo "a socket is kept for $(($3 == old))"; return; fi
            wait $old; echo "ended by signal $(($? - 128))"
        }
        sleep 60 & old=$!
        sleep() { :; }
    """
    done = subprocess.run(
        ["sh", "-c", f"{programs}\n{shell}"], capture_output=True, text=True, check=False
    )
    said = "a socket is kept for 1\nended by signal 9\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr


def test_room_is_made_by_the_service_itself_for_root_would_follow_its_links() -> None:
    shell = reloading.room("/run/a.sock", "whoever")
    # The name of a function has no slash.
    shell = shell.replace(layout.SERVE_COMMAND, "serve")
    programs = """
        serve() { echo room; }
        runuser() { echo "$*"; }
    """
    done = subprocess.run(
        ["sh", "-c", f"{programs}\n{shell}"], capture_output=True, text=True, check=False
    )
    said = "-u whoever -- serve --socket /run/a.sock room\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
