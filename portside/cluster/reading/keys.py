"""What the model has at a path of the cluster file: which keys, which kind of value."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, BeforeValidator

from portside.quantities import parse_duration, parse_size

Path = tuple[str | int, ...]
Model = type[BaseModel]


def kind_at(model: Model, path: Path) -> str:
    """`size`, `duration`, or empty for any other value."""
    readers = {
        each.func for each in _metadata(_at(model, path)) if isinstance(each, BeforeValidator)
    }
    return "size" if parse_size in readers else "duration" if parse_duration in readers else ""


def known(model: Model, path: Path) -> tuple[str, ...]:
    """The keys that a mapping at `path` may have; none where they are free."""
    return next((tuple(each.model_fields) for each in _models(_at(model, path))), ())


def meant(model: Model, path: Path) -> str:
    """What whoever wrote an unknown key may have meant: words, or nothing."""
    *above, name = path
    written = str(name).lower().replace("-", "_")
    here = known(model, tuple(above))
    near = difflib.get_close_matches(written, here, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]}?"
    elsewhere = [place for place in _places(model) if place.rpartition(".")[2] == written]
    if elsewhere:
        return f"it belongs elsewhere: {' or '.join(elsewhere[:3])}"
    return f"there are {', '.join(here)}" if 0 < len(here) <= 10 else ""


def _at(model: Model, path: Path) -> Any:
    found: Any = model
    for part in path:
        found = _below(found, part)
    return found


def _below(annotation: Any, part: str | int) -> Any:
    """The annotation of what lies at `part`; what the model hasn't is passed by."""
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel) and part in each.model_fields:
            field = each.model_fields[str(part)]
            return (
                Annotated[field.annotation, *field.metadata]
                if field.metadata
                else (field.annotation)
            )
        if get_origin(each) is dict:
            return get_args(each)[1]
        if get_origin(each) in (tuple, list) and isinstance(part, int):
            return get_args(each)[0]
    return annotation


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types of an annotation: each of a union's, without what is said about it."""
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif annotation is not None and get_origin(annotation) not in (None, dict, tuple, list):
        for each in get_args(annotation):
            yield from _alternatives(each)
    else:
        yield annotation


def _metadata(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        inner, *said = get_args(annotation)
        yield from said
        yield from _metadata(inner)
    elif get_origin(annotation) not in (None, dict, tuple, list):
        for each in get_args(annotation):
            yield from _metadata(each)


def _models(annotation: Any) -> Iterator[Model]:
    for each in _alternatives(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each


def _places(model: Model, above: str = "") -> Iterator[str]:
    """Every key of the model, with its path."""
    for name, field in model.model_fields.items():
        yield f"{above}{name}"
        inner, below = field.annotation, f"{above}{name}."
        for each in _alternatives(inner):
            if get_origin(each) is dict:
                inner, below = get_args(each)[1], f"{above}{name}.<name>."
            elif get_origin(each) is tuple:
                inner = get_args(each)[0]
        for each in _models(inner):
            yield from _places(each, below)
