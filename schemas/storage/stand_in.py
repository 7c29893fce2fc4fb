"""StandIn: a local path that stands for a remote place; errors and summaries name the place instead of the path."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.space import NoSpaceError
from schemas.storage.copies import fetched
from schemas.storage.place import Place


@dataclass(frozen=True, slots=True)
class StandIn:
    """A local `path` and the `place` that it stands for; both are the same for a local place."""

    path: Path
    place: Place

    def with_place(self, value: Any) -> Any:
        """The value, with the stand-in's path replaced by the place in all its texts and paths."""
        if isinstance(value, dict):
            return {name: self.with_place(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.with_place, value))
        if isinstance(value, str | Path) and str(self.path) in str(value):
            return value if self.place.is_local else str(value).replace(str(self.path), str(self.place))
        return value

    @contextmanager
    def named(self) -> Iterator[None]:
        """Inside, errors that name the stand-in name the place instead, except for a full disk."""
        try:
            yield
        except NoSpaceError:
            raise
        except InputError as error:
            error.args = self.with_place(error.args)
            raise


@contextmanager
def temporary_stand_in(place: Place, *, prefix: str) -> Iterator[Path]:
    """Inside, a temporary path with the place's name, where nothing exists yet. Errors name the place."""
    with tempfile.TemporaryDirectory(prefix=prefix) as base:
        path = Path(base).resolve() / place.name
        with StandIn(path, place).named():
            yield path


@contextmanager
def local_copy(place: Place, *, wanted: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """As `fetched`; errors in the copy name the place."""
    with fetched(place, wanted=wanted) as path, StandIn(path, place).named():
        yield path
