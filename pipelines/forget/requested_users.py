"""Reads the file of user ids that are to be forgotten, and finds the ids under which the lake holds them."""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.ingest.parse.ids import LONGEST_ID_BYTES
from pipelines.ingest.read.privacy import has_user_key, refuse_other_key
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.regular_file import read_bytes

_LARGEST = 1 << 28  # bytes
_HMAC = re.compile(r"[0-9a-f]{64}")
_BAD = re.compile(r"[\s\\\x00-\x1f\x7f]")
_FORM = (
    "Each line holds a user id as the log has it, or its HMAC, and, if it is of one source alone, a tab and --source"
)


@dataclass(frozen=True, slots=True)
class RequestedUser:
    """One line of the file."""

    user: str = field(repr=False)  # as the file has it
    source: str | None  # None: every source


def read_requested_users(file: Path) -> list[RequestedUser]:
    """The lines of the file, each once. InputError, which shows no id, for an invalid line or an empty file."""
    text, where = read_bytes(file, largest=_LARGEST, advice=_FORM, error=InputError), str(file)
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        number = text[: error.start].count(b"\n") + 1
        raise InputError(f"{where}: line {number} is no UTF-8 text. {_FORM}. Nothing was changed") from error
    asked = [_parse_line(line, f"{where}: line {number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not asked:
        raise InputError(f"{where}: holds no user id. {_FORM}")
    return list(dict.fromkeys(asked))


def _parse_line(line: str, where: str) -> RequestedUser:
    user, *more = (part.strip(" ") for part in line.split("\t"))
    wrong = None
    if len(more) > 1 or (more and not more[0]):
        wrong = f"has {len(more) + 1} columns, or an empty one"
    elif not user or _BAD.search(user):
        wrong = "holds no id: one has no white space, backslash or control character"
    elif len(user.encode()) > LONGEST_ID_BYTES:
        wrong = f"holds an id of more than {LONGEST_ID_BYTES} bytes, which no line of a log can have"
    if wrong is not None:
        raise InputError(f"{where} {wrong}. {_FORM}. Nothing was changed")
    return RequestedUser(user, more[0] if more else None)


def stored_ids(
    lake: Lake, asked: Iterable[RequestedUser], sources: Iterable[str], key: bytes | None
) -> Mapping[RequestedUser, list[tuple[str, str]]]:
    """(source, user id in the lake's form) of each requested user.

    InputError where a source is not in the lake, or where its ids are replaced and neither the key nor HMACs are
    given.
    """
    known = sorted(sources)
    keyed = {source for source in known if has_user_key(lake, source)}
    if key is not None:
        for source in keyed:
            refuse_other_key(lake, source, key)
    found = {}
    for one in asked:
        if one.source is not None and one.source not in known:
            raise InputError(
                f"{lake.root}: holds nothing of source {one.source!r}, only of {', '.join(known)}. Mend the file"
            )
        places = known if one.source is None else [one.source]
        found[one] = [(source, user) for source in places for user in _stored(one.user, source in keyed, key, source)]
    return found


def _stored(user: str, keyed: bool, key: bytes | None, source: str) -> list[str]:
    """The id in the form of a source of the lake; both forms of one that may be an HMAC or an id."""
    if not keyed:
        return [user]
    own = [user] if _HMAC.fullmatch(user) else []
    if key is None and not own:
        raise InputError(
            f"user ids of source {source} are replaced by their HMAC, and the file holds others. Give --user-key-file "
            "as for ingest, or a file of HMACs. Nothing was changed"
        )
    return own if key is None else [*own, hmac.digest(key, user.encode(), "sha256").hex()]
