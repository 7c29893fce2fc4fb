"""What users and their data can cause; jobs print these without a traceback and exit with 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InputError(ValueError):
    """The input cannot be used as it is. The message says what was found, where, and what to do."""


class ContractError(InputError):
    """Data does not hold what its contract in schemas/ promises."""


class PartlyDone(InputError):
    """Some of the input could not be used; the rest is done, and `summary` tells of it."""

    def __init__(self, message: str, summary: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.summary = summary
