"""`portside size`: what a machine of some RAM and cores would be set to, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from portside.commands.common import print_table, size_option
from portside.quantities import GIB
from portside.sizing import Machine, explain, size


def command(
    ram: Annotated[int, typer.Option(parser=size_option, metavar="SIZE", help="As 4G or 512MiB.")],
    cores: Annotated[int, typer.Option(min=1, max=1024)],
    disk: Annotated[
        int,
        typer.Option(
            parser=size_option,
            metavar="SIZE",
            help="The data disk: 80G if left out.",
            show_default=False,
        ),
    ] = 80 * GIB,
    as_json: Annotated[bool, typer.Option("--json", help="Exact numbers, for programs.")] = False,
) -> None:
    """Print every RAM-dependent number of a node with this much RAM, each with its reason."""
    machine = Machine(ram=ram, cores=cores, disk=disk)
    try:
        sizing = size(machine)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ram") from None
    if as_json:
        typer.echo(json.dumps({"machine": asdict(machine), "sizing": asdict(sizing)}, indent=2))
    else:
        print_table(("setting", "value", "reason"), explain(sizing))
