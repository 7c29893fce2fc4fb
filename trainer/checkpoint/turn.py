"""Turn: among processes that train at one URL the newest continues, and earlier ones stop.

No kernel locks such a place, and a killed process would hold a lease for minutes. So the process that resumes a run
takes the turn from the one that has it, and that one checks the turn before it changes anything more.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import uuid4

from schemas.errors import InputError
from schemas.storage.files import below, create, read, remove
from schemas.storage.place import Place

FOLDER = "_locks/train.turn"


class Turn:
    """A process's turn to write to the place; it has none until it takes one."""

    def __init__(self, place: Place) -> None:
        self._place, self._at = place, place / FOLDER
        self._token = uuid4().hex.encode()
        self._number = 0

    def take(self) -> None:
        """Take the turn for this process. InputError if another takes it at the same moment."""
        before = self._numbers()
        self._number = max(before, default=0) + 1
        with suppress(FileExistsError):  # also if the answer to a first try was lost
            create(self._named(self._number), self._token)
        self.check()
        for number in before:
            remove(self._named(number))

    def check(self) -> None:
        """InputError if another process has taken the turn of this one."""
        if self._number and not self._is_ours():
            raise InputError(
                f"{self._place}: another process resumes this training run, from the last checkpoint that is there. "
                "This one stops. Let one process train at a time"
            )

    def give_back(self) -> None:
        """Release the place, if it is still this process's turn."""
        if self._number and self._is_ours():
            remove(self._named(self._number))
        self._number = 0

    def _is_ours(self) -> bool:
        if max(self._numbers(), default=0) != self._number:
            return False
        try:
            return read(self._named(self._number), largest=1 << 10) == self._token
        except FileNotFoundError:
            return False

    def _numbers(self) -> list[int]:
        return [int(name) for name, _ in below(self._at) if name.isdecimal()]

    def _named(self, number: int) -> Place:
        return self._at / f"{number:09}"
