"""Errors that users and their data can cause; jobs print them without a traceback and exit with code 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class InputError(ValueError):
    """The input cannot be used. The message says what was found, where, and what to do."""


class ContractError(InputError):
    """Data breaks its contract in schemas/."""


class PartlyDone(InputError):
    """Some of the input could not be used; the rest is done, and `summary` reports it."""

    def __init__(self, message: str, summary: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.summary = summary
