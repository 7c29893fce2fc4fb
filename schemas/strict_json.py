"""Strict JSON: the text of a file -> a typed dataclass, or one error that names file, place, fault and what to do.

The text is RFC 8259 in UTF-8: no NaN, no infinity, no name twice, no number beyond 64 bits, no nesting beyond
DEEPEST. Values have exactly the types of the dataclass (true and 1.0 are no integers), required names are present,
and the bounds hold that a field states (`Annotated[int, between(0, 9)]`) or a `__post_init__` checks. No number in the
text decides how much is allocated.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import msgspec

from schemas.errors import ContractError, InputError

T = TypeVar("T")
Unknown = Literal["refused", "ignored"]

DEEPEST = 32  # nested objects and lists; ours need 8
LARGEST = 1 << 53  # of counts: every JSON reader represents these exactly

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=LARGEST)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
PlainPath = Annotated[  # below a folder: relative, without . and .., of printable characters
    str, msgspec.Meta(pattern=r"^(?!/)(?!(?:.*/)?\.{0,2}(?:/|\Z))[^\x00-\x1f\x7f]{1,1024}\Z")
]
ShortText = Annotated[str, msgspec.Meta(max_length=4096)]

_AGAIN = "Make it again with the job that wrote it"
_NESTED = (dict, list)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


def between(least: float, most: float) -> msgspec.Meta:
    """The bounds of a numeric field, both included."""
    return msgspec.Meta(ge=least, le=most)


def decoded(
    text: bytes | str,
    kind: type[T],
    where: str,
    *,
    advice: str = _AGAIN,
    error: type[InputError] = ContractError,
    unknown: Unknown = "refused",
) -> T:
    """The text as a `kind`; `error` names `where`, the place in the text, the fault and the `advice`.

    `unknown`: names that `kind` lacks. A contract with a format version refuses them; data that is only displayed
    ignores them, so that an older page shows a newer run.
    """
    return converted(json_value(text, where, advice=advice, error=error), kind, where, advice=advice, error=error,
                     unknown=unknown)  # fmt: skip


def json_value(text: bytes | str, where: str, *, advice: str = _AGAIN, error: type[InputError] = ContractError) -> Any:
    """The text as plain lists, dictionaries, texts and numbers; `error` unless it is strict JSON."""
    try:
        plain = text if isinstance(text, str) else text.decode("utf-8")
        found = json.loads(plain, object_pairs_hook=_object, parse_constant=_no_constant)
        for values, kinds in _levels(found):
            _check_numbers(values, kinds)
        if _SURROGATE.search(plain):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except RecursionError as failure:
        raise error(f"{where}: nested more than {DEEPEST} deep. {advice}") from failure
    except UnicodeEncodeError as failure:
        raise error(f"{where}: \\u escapes that are no character. {advice}") from failure
    except UnicodeDecodeError as failure:
        raise error(f"{where}: not UTF-8 (byte {failure.start}). {advice}") from failure
    except ValueError as failure:
        raise error(f"{where}: no JSON ({failure}). {advice}") from failure
    return found


def json_lines(text: bytes, where: str, *, advice: str = _AGAIN, error: type[InputError] = ContractError) -> list[Any]:
    """The values of a file of JSON lines. A last line without a line end, which a kill cut short, is left out."""
    lines = text.split(b"\n")[:-1]
    how: dict[str, Any] = {"advice": advice, "error": error}
    return [json_value(line, f"{where}, line {number}", **how) for number, line in enumerate(lines, start=1)]


def null_nonfinite(value: Any) -> Any:
    """The value with None for each NaN and infinity, which JSON cannot hold: what a job writes can be read again."""
    if isinstance(value, Mapping):
        return {name: null_nonfinite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [null_nonfinite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def converted(
    found: Any,
    kind: type[T],
    where: str,
    *,
    advice: str = _AGAIN,
    error: type[InputError] = ContractError,
    unknown: Unknown = "refused",
) -> T:
    """A result of `json_value` as a `kind`; see `decoded`."""
    try:
        made = msgspec.convert(found, kind)
    except msgspec.ValidationError as failure:
        said, _, place = str(failure).rpartition(" - at ")
        said, place = (said, place.strip("`")) if said else (str(failure), "$")
        raise error(f"{where}, at {place}: {said}{_shown(found, place)}. {advice}") from failure
    if unknown == "refused" and (stray := _stray(found, msgspec.to_builtins(made), "$")):
        raise error(f"{where}, at {stray}: no such name in this contract. {advice}")
    return made


def check_depth(found: Any) -> None:
    """ValueError where lists and dictionaries are nested more than DEEPEST deep."""
    for _ in _levels(found):
        pass


def _levels(found: Any) -> Iterator[tuple[Collection[Any], set[type]]]:
    """The values of each list and dictionary, outer ones first, and their types; ValueError as `check_depth`.

    A list of a million numbers costs a few milliseconds: no value of it is looked at alone.
    """
    level: list[Collection[Any]] = [[found]]
    for _ in range(DEEPEST + 2):
        deeper: list[Collection[Any]] = []
        for values in level:
            kinds = set(map(type, values))
            yield values, kinds
            if not kinds.isdisjoint(_NESTED):
                inner = (value for value in values if type(value) in _NESTED)
                deeper += [value.values() if type(value) is dict else value for value in inner]
        if not deeper:
            return
        level = deeper
    raise ValueError(f"nested more than {DEEPEST} deep")


def _check_numbers(values: Collection[Any], kinds: set[type]) -> None:
    if int in kinds:
        integers = values if len(kinds) == 1 else [value for value in values if type(value) is int]
        try:
            array("q", integers)  # the fastest look at each
        except OverflowError:
            if beyond := [integer for integer in integers if not -(2**63) <= integer < 2**64]:
                raise ValueError(f"the integer {str(beyond[0])[:24]}… is beyond 64 bits") from None
    if float in kinds and (math.inf in values or -math.inf in values):
        raise ValueError("a number is beyond what a double holds")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {_short(twice)} occurs twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _stray(found: Any, known: Any, place: str) -> str | None:
    """The place of the first name in `found` that its converted form `known` lacks."""
    if isinstance(found, dict) and isinstance(known, Mapping):
        if unknown := found.keys() - known.keys():
            return f"{place}.{next(name for name in found if name in unknown)[:80]}"
        for name, value in found.items():
            if type(value) in _NESTED and (stray := _stray(value, known[name], f"{place}.{name}")):
                return stray
    if isinstance(found, list) and type(found[0] if found else None) in _NESTED:  # the others are of the same type
        for number, (value, own) in enumerate(zip(found, known, strict=False)):
            if stray := _stray(value, own, f"{place}[{number}]"):
                return stray
    return None


def _shown(found: Any, place: str) -> str:
    """The value at that place of `found`, if it is a scalar."""
    for name, number in _STEP.findall(place.removeprefix("$")):
        try:
            found = found[name] if name else found[int(number)]
        except (KeyError, IndexError, TypeError):
            return ""
    if "..." in place or place.startswith("key") or isinstance(found, list | dict) or found is None:
        return ""
    return f", found {_short(found)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
