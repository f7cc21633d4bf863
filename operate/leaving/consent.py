"""What can't be had back is given up by somebody who has typed what they give up."""

from __future__ import annotations

import sys

from operate.site import Refused


def id_typed(node_id: str, without_terminal: str, otherwise: str) -> None:
    """Have the node's id typed. Raises Refused for another one, or where nobody can be asked.

    `without_terminal` is how it is said there, `otherwise` what is left as it was.
    """
    if not sys.stdin.isatty():
        raise Refused(f"there is no terminal to ask on: {without_terminal}")
    print(f"Type {node_id} to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != node_id:
        raise Refused(f"that was not its id: {otherwise}")
