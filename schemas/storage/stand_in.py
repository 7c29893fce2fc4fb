"""StandIn: a path of this machine that stands for a place behind a URL; what is told of it names the place."""

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
    """`path` on this machine, `place` for which it stands; of a local place both are the same."""

    path: Path
    place: Place

    def with_place(self, value: Any) -> Any:
        """The value, with the place wherever a text or a path of it names the stand-in."""
        if isinstance(value, dict):
            return {name: self.with_place(part) for name, part in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(map(self.with_place, value))
        if isinstance(value, str | Path) and str(self.path) in str(value):
            return value if self.place.is_local else str(value).replace(str(self.path), str(self.place))
        return value

    @contextmanager
    def named(self) -> Iterator[None]:
        """Inside, what is wrong with the stand-in comes out as what is wrong with the place, but for a full disk."""
        try:
            yield
        except NoSpaceError:
            raise
        except InputError as error:
            error.args = self.with_place(error.args)
            raise


@contextmanager
def standing_in(place: Place, *, prefix: str) -> Iterator[Path]:
    """Inside, a path for temporary files, named as the place is, where nothing stands yet. What is wrong with it names
    the place.
    """
    with tempfile.TemporaryDirectory(prefix=prefix) as base:
        path = Path(base).resolve() / place.name
        with StandIn(path, place).named():
            yield path


@contextmanager
def here(place: Place, *, wanted: Callable[[str], bool] | None = None) -> Iterator[Path]:
    """As `fetched`; what is wrong with the copy names the place."""
    with fetched(place, wanted=wanted) as path, StandIn(path, place).named():
        yield path
