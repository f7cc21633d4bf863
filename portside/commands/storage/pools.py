"""`portside pools`: the places that files go to, seen, made, set and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

from portside.commands.common import control_plane, print_table, printable, size_option
from portside.quantities import format_size
from portside.wire import heartbeat
from portside.wire.control import NewPool, PoolSettings, PoolView

app = typer.Typer(
    help="List, make, set and delete pools: the places that files go to.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

_FROM_THE_NODE = ("region", "weight", "tier", "capacity", "public_base_url", "upload_api_url")
"""Settings that a pool may leave to its node, or to its disk."""


def _of_the_node(text: str) -> str:
    """A setting's name, as the option for it is called or as the API has it."""
    name = text.strip().lower().lstrip("-").replace("-", "_")
    if name not in _FROM_THE_NODE:
        raise typer.BadParameter(f"{text}: known are {', '.join(_FROM_THE_NODE)}")
    return name


_HEADERS = ("pool", "node", "health", "uploads", "tier", "priority", "region", "weight", "used")

_Wish = TypeVar("_Wish", bound=PoolSettings)

PoolId = Annotated[str, typer.Argument(metavar="POOL", help="As `pools` names it.")]
AsJson = Annotated[bool, typer.Option("--json", help="As one JSON object.")]
Weight = Annotated[
    int | None,
    typer.Option(min=0, max=1000, help="Its share among pools alike; 0: nothing new."),
]
TierOption = Annotated[heartbeat.Tier | None, typer.Option("--tier", help="Hot is filled first.")]
Priority = Annotated[
    int | None, typer.Option(min=-1000, max=1000, help="The higher comes first, within a tier.")
]
Region = Annotated[str | None, typer.Option(help="Where it is, as hel.")]
Capacity = Annotated[
    int | None,
    typer.Option(parser=size_option, metavar="SIZE", help="What it may hold, as 500GiB."),
]
UploadTarget = Annotated[
    bool | None,
    typer.Option("--upload-target/--no-upload-target", help="Whether uploads are placed here."),
]
PublicBaseUrl = Annotated[str | None, typer.Option(help="Where its files are served from.")]
UploadApiUrl = Annotated[str | None, typer.Option(help="Where uploads to it are sent.")]


@app.callback()
def command(context: typer.Context, as_json: AsJson = False) -> None:
    """List every pool; more with a command: show, create, set, delete."""
    if context.invoked_subcommand is None:
        list_pools(as_json)


@app.command("list")
def list_pools(as_json: AsJson = False) -> None:
    """List every pool with its settings in force."""
    with control_plane() as control:
        views = control.pools()
    if as_json:
        typer.echo(views.model_dump_json())
    else:
        print_table(_HEADERS, [_row(pool) for pool in views.pools])


@app.command()
def show(pool_id: PoolId, as_json: AsJson = False) -> None:
    """Say everything of one pool."""
    with control_plane() as control:
        pool = control.pool(pool_id)
    _say(pool, as_json)


@app.command()
def create(
    pool_id: PoolId,
    node_id: Annotated[str, typer.Argument(metavar="NODE", help="The node that it is on.")],
    weight: Weight = None,
    tier: TierOption = None,
    priority: Priority = None,
    region: Region = None,
    capacity: Capacity = None,
    upload_target: UploadTarget = None,
    public_base_url: PublicBaseUrl = None,
    upload_api_url: UploadApiUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a pool on a node. What isn't given is the node's."""
    given = _given(
        weight, tier, priority, region, capacity, upload_target, public_base_url, upload_api_url
    )
    new = _checked(NewPool, {**given, "pool_id": pool_id, "node_id": node_id})
    with control_plane() as control:
        pool = control.create_pool(new)
    _say(pool, as_json)


@app.command("set")
def set_pool(
    pool_id: PoolId,
    weight: Weight = None,
    tier: TierOption = None,
    priority: Priority = None,
    region: Region = None,
    capacity: Capacity = None,
    upload_target: UploadTarget = None,
    public_base_url: PublicBaseUrl = None,
    upload_api_url: UploadApiUrl = None,
    as_the_node: Annotated[
        list[str] | None,
        typer.Option(
            parser=_of_the_node,
            metavar="SETTING",
            help="A setting that is the node's again; may be given several times.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given of a pool's settings; the others stay."""
    given = _given(
        weight, tier, priority, region, capacity, upload_target, public_base_url, upload_api_url
    )
    again = dict.fromkeys(as_the_node or ())
    if both := sorted(given.keys() & again.keys()):
        raise typer.BadParameter(f"{both[0]} is set as well", param_hint="--as-the-node")
    if not (given or again):
        raise typer.BadParameter("say what to set, as --weight 2")
    wanted = _checked(PoolSettings, {**given, **again})
    with control_plane() as control:
        pool = control.change_pool(pool_id, wanted)
    _say(pool, as_json)


@app.command()
def delete(pool_id: PoolId, as_json: AsJson = False) -> None:
    """Delete a pool that nothing is in; what is still in it is told."""
    with control_plane() as control:
        pool = control.delete_pool(pool_id)
    if as_json:
        typer.echo(pool.model_dump_json())
    else:
        typer.echo(printable(f"{pool.pool_id}: deleted"))


def _given(
    weight: int | None,
    tier: str | None,
    priority: int | None,
    region: str | None,
    capacity: int | None,
    upload_target: bool | None,
    public_base_url: str | None,
    upload_api_url: str | None,
) -> dict[str, Any]:
    """The settings that a command line names."""
    named = {
        "weight": weight,
        "tier": tier,
        "priority": priority,
        "region": region,
        "capacity": capacity,
        "is_upload_target": upload_target,
        "public_base_url": public_base_url,
        "upload_api_url": upload_api_url,
    }
    return {name: value for name, value in named.items() if value is not None}


def _checked(model: type[_Wish], values: dict[str, Any]) -> _Wish:
    """A request of these values. Raises ValueError, in words for people."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _row(pool: PoolView) -> tuple[str, ...]:
    cells = (
        pool.pool_id,
        pool.node_id,
        pool.health,
        "yes" if pool.is_upload_target and pool.weight else "no",
        pool.tier,
        str(pool.priority),
        pool.region or "-",
        str(pool.weight),
        _used(pool),
    )
    return tuple(printable(cell) for cell in cells)


def _used(pool: PoolView) -> str:
    """Bytes stored and promised, and of how many where that is bounded."""
    used = format_size(pool.occupied)
    return used if pool.capacity is None else f"{used} of {format_size(pool.capacity)}"


def _say(pool: PoolView, as_json: bool) -> None:
    if as_json:
        typer.echo(pool.model_dump_json())
        return
    for line in _about(pool):
        typer.echo(printable(line))


def _about(pool: PoolView) -> Iterator[str]:
    """Everything of one pool."""
    yield f"{pool.pool_id}: on {pool.node_id}, {pool.health}"
    takes = "takes uploads" if pool.is_upload_target and pool.weight else "takes no uploads"
    yield (
        f"{takes}; tier {pool.tier}, priority {pool.priority}, region {pool.region or '-'}, "
        f"weight {pool.weight}"
    )
    yield f"{_used(pool)} stored and promised"
    yield f"uploads go to {pool.upload_api_url}"
    yield f"files are served from {pool.public_base_url}"
