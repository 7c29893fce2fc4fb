"""What users and their data can cause; jobs print these without a traceback and exit with 2."""

from __future__ import annotations


class InputError(ValueError):
    """The input cannot be used as it is. The message says what was found, where, and what to do."""


class ContractError(InputError):
    """Data does not hold what its contract in schemas/ promises."""
