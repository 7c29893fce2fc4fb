"""Options that name a file or a folder: normalises each place and rejects unsupported storage before a job runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from cyclopts import App, ArgumentCollection, Parameter

from schemas.errors import InputError
from schemas.storage.files import check_served
from schemas.storage.place import Place


def check_places(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Normalise each place. InputError, before anything is made, for storage that is not supported."""
    on_spark = any(argument.name == "--engine" for argument in arguments)
    for argument in arguments:
        kinds = kinds_in(argument.hint)
        if not kinds & {Path, Place}:
            continue
        key = argument.name
        for number, token in enumerate(argument.tokens):
            place = Place.of(token.value)
            if not (key == "--lake" and on_spark and place.schema):  # the engine serves it
                check_served(place)
            if not (place.is_local or Place in kinds):
                raise InputError(f"{key} is {place}: give a local path, for {key} takes no other")
            argument.tokens[number] = token.evolve(value=place.text)


def kinds_in(hint: Any) -> set[Any]:
    """The type and all its type arguments, such as those of an optional list of paths."""
    return {hint}.union(*map(kinds_in, get_args(hint)))


def cyclopts_type(hint: Any) -> Any:
    """The type in the form that cyclopts needs: a Place is one token, not a table of fields."""
    if Place in {hint, *get_args(hint)} and get_origin(hint) is not tuple:
        return Annotated[hint, Parameter(converter=_place, n_tokens=1, accepts_keys=False)]
    return hint


def _place(_: Any, tokens: Sequence[Any]) -> Place:
    return Place(tokens[0].value)
