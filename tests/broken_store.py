"""A store that breaks off at a chosen moment, as if the process had been killed there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from schemas.storage.objects import ObjectStore

_CHANGES = ("write", "create", "remove", "remove_folder")


class KilledError(Exception):
    """Here the process would have ended."""


@contextmanager
def killed_at(change: int) -> Iterator[list[int]]:
    """Inside, the object store takes so many changes and then none. The list's number counts what was asked for."""
    asked = [0]

    def broken(name: str) -> Any:
        real = getattr(ObjectStore, name)

        def do(store: ObjectStore, *arguments: Any) -> Any:
            asked[0] += 1
            if asked[0] > change:
                raise KilledError(name)
            return real(store, *arguments)

        return do

    with pytest.MonkeyPatch.context() as patch:
        for name in _CHANGES:
            patch.setattr(ObjectStore, name, broken(name))
        yield asked
