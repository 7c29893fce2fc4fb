"""Options that name a file or a folder: one spelling of each place, and a plain refusal of what cannot be served."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from cyclopts import App, ArgumentCollection, Parameter

from schemas.errors import InputError
from schemas.storage.files import check_served
from schemas.storage.place import Place


def check_places(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give each place its one spelling, and refuse, before anything is made, what nothing here can serve."""
    on_spark = any(argument.name == "--engine" for argument in arguments)
    for argument in arguments:
        kinds = kinds_in(argument.hint)
        if not kinds & {Path, Place}:
            continue
        key = argument.name
        for number, token in enumerate(argument.tokens):
            place = Place.of(token.value)
            if not (key == "--lake" and on_spark and place.schema):  # which the engine will be asked for
                check_served(place)
            if not (place.is_local or Place in kinds):
                raise InputError(f"{key} is {place}: give a path of this machine, for {key} takes no other")
            argument.tokens[number] = token.evolve(value=place.text)


def kinds_in(hint: Any) -> set[Any]:
    """The type and all that it is made of, such as a list of paths or none."""
    return {hint}.union(*map(kinds_in, get_args(hint)))


def taken(hint: Any) -> Any:
    """The type as cyclopts takes it: a Place is one word, and no table of fields."""
    if Place in {hint, *get_args(hint)} and get_origin(hint) is not tuple:
        return Annotated[hint, Parameter(converter=_place, n_tokens=1, accepts_keys=False)]
    return hint


def _place(_: Any, tokens: Sequence[Any]) -> Place:
    return Place(tokens[0].value)
