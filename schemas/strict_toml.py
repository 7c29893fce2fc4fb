"""Strict TOML: the text of a preset or a mapping -> plain tables, or one error that names the file and the fault."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from schemas.errors import InputError
from schemas.strict_json import DEEPEST, check_depth

LARGEST_TOML = 1 << 18  # bytes
_DEEP_NAME = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){{{DEEPEST}}}")  # tomllib: quadratic time


def toml_tables(text: bytes, where: str, *, advice: str) -> dict[str, Any]:
    """The tables of a text in UTF-8, with or without a byte order mark."""
    try:
        plain = text.decode("utf-8-sig")
        if _DEEP_NAME.search(plain):
            raise ValueError(f"a name of more than {DEEPEST} parts")
        found = tomllib.loads(plain)
        check_depth(found)
    except RecursionError as failure:
        raise InputError(f"{where}: nested more than {DEEPEST} deep. {advice}") from failure
    except UnicodeDecodeError as failure:
        raise InputError(f"{where}: not UTF-8 (byte {failure.start}). {advice}") from failure
    except ValueError as failure:
        raise InputError(f"{where}: no TOML ({str(failure)[:200]}). {advice}") from failure
    return found
