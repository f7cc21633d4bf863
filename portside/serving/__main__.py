"""`portside-serve`: run a service by generations (`run`), or have it take up what has changed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from portside.serving import asking, status
from portside.serving.listening import keep_for
from portside.serving.supervisor import Supervisor


def main() -> None:
    """Do what the arguments say; exits with the outcome."""
    arguments = _parser().parse_args()
    if arguments.verb == "run":
        supervisor = Supervisor(
            arguments.socket, arguments.release, arguments.most, arguments.command
        )
        sys.exit(supervisor.run())
    if arguments.verb == "inherit":
        keep_for(arguments.main, arguments.socket)
        sys.exit()
    if arguments.verb == "room":
        sys.exit(asking.make_room(arguments.socket.parent))
    if arguments.verb == "beyond":
        status.beyond_file(arguments.socket.parent).touch()
        sys.exit()
    if arguments.verb == "reload":
        complaint = asking.ask(arguments.socket.parent, arguments.supervisor, arguments.within)
    else:
        latest = status.read(status.runtime_file(arguments.socket.parent)).asked
        complaint = asking.wait_for(arguments.socket.parent, latest, arguments.within)
        if complaint is None:
            # What is asked from here on, the new one answers.
            time.sleep(asking.LINGER)
    if complaint is not None:
        sys.exit(f"not taken over: {complaint}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="portside-serve", description=__doc__)
    parser.add_argument("--socket", type=Path, required=True, help="where the service listens")
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="what the unit runs")
    run.add_argument("--release", type=Path, required=True, help="the link to the current release")
    run.add_argument("--most", type=int, required=True, help="generations at once")
    run.add_argument("command", nargs=argparse.REMAINDER, help="what a generation runs")
    reload = verbs.add_parser("reload", help="start a new generation and wait until it serves")
    reload.add_argument("supervisor", type=int, help="the process of `run`")
    inherit = verbs.add_parser("inherit", help="keep a new socket for who comes after a server")
    inherit.add_argument("main", type=int, help="the main process of the server's unit")
    verbs.add_parser("room", help="wait a little until a new generation could start at once")
    verbs.add_parser("beyond", help="what is asked next may be one more than --most: to go back")
    wait = verbs.add_parser("wait", help="wait until what was asked last serves")
    for verb in (reload, wait):
        verb.add_argument("--within", type=float, default=270.0, help="seconds")
    return parser


if __name__ == "__main__":
    main()
