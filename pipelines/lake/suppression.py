"""Users who were forgotten, known by a hash: whose lines ingest keeps out, and whose rows forget takes out.

The hash is an HMAC-SHA256 under a salt that the lake holds: the lake names nobody, but who has it can test whether an
id that he knows is among them. Under a user key the lake holds no id of the log, and what is hashed is the id's HMAC.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.lake.tables import Lake
from schemas.erasure import SUPPRESSIONS
from schemas.errors import InputError

_SALT = "salt"  # the note of SUPPRESSIONS that holds it, in hex
_SALT_BYTES = 32
UNFINISHED = "unfinished"  # the note of SUPPRESSIONS that names a run of forget which is not done
_LONGEST = 24  # pieces of an id that stands in a longer text
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')  # of JSON
_RUN = re.compile(r'[^\s"]+')
_PIECE = re.compile(r"[\w-]+|[^\w-]")
_TIME = re.compile(r"\d{1,4}(?:[-/:T.]\d{1,9}){2,}Z?")  # its numbers are no ids


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The users as tasks know them; it travels in a function's closure, which no plan shows."""

    salt: bytes = field(repr=False)
    digests: Mapping[str, frozenset[str]]  # of the users of each source

    def digest(self, source: str, user: str) -> str:
        """The user's hash."""
        return hmac.digest(self.salt, f"{source}\0{user}".encode(), "sha256").hex()

    def anywhere(self, user: str) -> bool:
        """Whether a user of this id is among them, in whatever source."""
        return any(self.known(source, user) for source in self.digests)

    def known(self, source: str, user: str) -> str | None:
        """The user's hash, if it is one of theirs."""
        if source not in self.digests:
            return None
        digest = self.digest(source, user)
        return digest if digest in self.digests[source] else None

    def of_users(self, source: str, users: pa.Array) -> Any:
        """`known` of each id of an Arrow array, where it is not null: an array of objects."""
        each = users.dictionary_encode()
        known = [None if user is None else self.known(source, user) for user in each.dictionary.to_pylist()]
        codes = each.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.array([*known, None], object)[codes]

    def in_text(self, source: str, text: str) -> str | None:
        """The hash of a user of theirs whose id stands in the text, with no letter, digit, `_` or `-` beside it."""
        if source not in self.digests:
            return None
        return next(filter(None, (self.known(source, name) for name in names_in(text))), None)

    def of(self, sources: Iterable[str]) -> Suppressed:
        """Those of some sources."""
        wanted = set(sources)
        return Suppressed(self.salt, {name: users for name, users in self.digests.items() if name in wanted})


def suppressed_in(lake: Lake) -> Suppressed | None:
    """Whom the lake has forgotten; None where nobody was."""
    if not lake.exists(SUPPRESSIONS):
        return None
    held: dict[str, set[str]] = {}
    for row in lake.read(SUPPRESSIONS).select("source", "user_hmac").collect():
        held.setdefault(row["source"], set()).add(row["user_hmac"])
    salt = lake.notes(SUPPRESSIONS).get(_SALT)
    if not held or salt is None:
        return None
    return Suppressed(bytes.fromhex(salt), {source: frozenset(users) for source, users in held.items()})


def refuse_half_forgotten(lake: Lake) -> None:
    """InputError where a run of forget was stopped: some tables still hold rows that others have lost."""
    if lake.exists(SUPPRESSIONS) and lake.notes(SUPPRESSIONS).get(UNFINISHED):
        raise InputError(
            f"{lake.root}: forget was stopped before it was done, so raw_log may still hold lines of users who are to "
            f"be forgotten. Run ./feedloop forget --lake {lake.root} first"
        )


def salt_of(lake: Lake) -> bytes:
    """The salt of this lake, from now on the same."""
    lake.create(SUPPRESSIONS)
    if _SALT not in lake.notes(SUPPRESSIONS):
        lake.note(SUPPRESSIONS, _SALT, secrets.token_hex(_SALT_BYTES))
    return bytes.fromhex(lake.notes(SUPPRESSIONS)[_SALT])


def users_of(frame: DataFrame, who: Suppressed) -> DataFrame:
    """The distinct (source, user_id) of the frame that are theirs."""

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(rows_of_users(batch, who))

    return frame.select("source", "user_id").distinct().mapInArrow(theirs, "source string, user_id string")


def rows_of_users(batch: pa.RecordBatch, who: Suppressed) -> pa.Array:
    """Of rows with a source and a user_id, which are theirs."""
    pairs = zip(batch.column("source").to_pylist(), batch.column("user_id").to_pylist(), strict=True)
    return pa.array([who.known(source, user) is not None for source, user in pairs], pa.bool_())


def of_sources(frame: DataFrame, who: Suppressed) -> DataFrame:
    """The frame's rows of the sources that have such users."""
    return frame.where(F.col("source").isin(sorted(who.digests)))


def names_in(text: str) -> set[str]:
    """What of a text may be a user's id: its JSON strings, its words, and pieces of words between signs."""
    found = set()
    for quoted in _TEXT.findall(text):
        try:
            found.add(json.loads(quoted))
        except ValueError:
            found.add(quoted[1:-1])
    for run in _RUN.findall(text):
        found.add(run)
        for part in _TIME.split(run):
            pieces = _PIECE.findall(part)
            for first in range(len(pieces)):
                name = ""
                for piece in pieces[first : first + _LONGEST]:
                    name += piece
                    found.add(name)
    return found
