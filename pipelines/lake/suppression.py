"""Holds the hashes of forgotten users: ingest leaves their lines out, and forget removes their rows.

The hash is an HMAC-SHA256 under a salt that the lake holds: the lake names no user, but its owner can test whether a
known id is among them. Under a user key the lake holds no id of the log, so the id's HMAC is hashed.
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

_SALT = "salt"  # the note of SUPPRESSIONS that holds the salt, in hex
_SALT_BYTES = 32
UNFINISHED = "unfinished"  # the note of SUPPRESSIONS that names an unfinished run of forget
_LONGEST = 24  # pieces of an id inside a longer text
_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"')  # of JSON
_RUN = re.compile(r'[^\s"]+')
_PIECE = re.compile(r"[\w-]+|[^\w-]")
_TIME = re.compile(r"\d{1,4}(?:[-/:T.]\d{1,9}){2,}Z?")  # its numbers are no ids


@dataclass(frozen=True, slots=True)
class Suppressed:
    """The forgotten users in the form for tasks; it travels in a function's closure, which no plan shows."""

    salt: bytes = field(repr=False)
    digests: Mapping[str, frozenset[str]]  # source -> hashes of its forgotten users

    def digest(self, source: str, user: str) -> str:
        """The user's hash."""
        return hmac.digest(self.salt, f"{source}\0{user}".encode(), "sha256").hex()

    def anywhere(self, user: str) -> bool:
        """Whether a user of this id is forgotten in any source."""
        return any(self.known(source, user) for source in self.digests)

    def known(self, source: str, user: str) -> str | None:
        """The user's hash if the user is forgotten, else None."""
        if source not in self.digests:
            return None
        digest = self.digest(source, user)
        return digest if digest in self.digests[source] else None

    def of_users(self, source: str, users: pa.Array) -> Any:
        """`known` for each id of an Arrow array, None for null: an array of objects."""
        each = users.dictionary_encode()
        known = [None if user is None else self.known(source, user) for user in each.dictionary.to_pylist()]
        codes = each.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)
        return np.array([*known, None], object)[codes]

    def in_text(self, source: str, text: str) -> str | None:
        """The hash of a forgotten user whose id is in the text, with no letter, digit, `_` or `-` next to it."""
        if source not in self.digests:
            return None
        return next(filter(None, (self.known(source, name) for name in possible_ids(text))), None)

    def of(self, sources: Iterable[str]) -> Suppressed:
        """The forgotten users of these sources alone."""
        wanted = set(sources)
        return Suppressed(self.salt, {name: users for name, users in self.digests.items() if name in wanted})


def suppressed_in(lake: Lake) -> Suppressed | None:
    """The users whom the lake has forgotten; None where there are none."""
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
    """The lake's salt; the first call makes and stores it."""
    lake.create(SUPPRESSIONS)
    if _SALT not in lake.notes(SUPPRESSIONS):
        lake.note(SUPPRESSIONS, _SALT, secrets.token_hex(_SALT_BYTES))
    return bytes.fromhex(lake.notes(SUPPRESSIONS)[_SALT])


def suppressed_users(frame: DataFrame, who: Suppressed) -> DataFrame:
    """The distinct (source, user_id) of the frame that are forgotten users."""

    def theirs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch.filter(is_suppressed(batch, who))

    return frame.select("source", "user_id").distinct().mapInArrow(theirs, "source string, user_id string")


def is_suppressed(batch: pa.RecordBatch, who: Suppressed) -> pa.Array:
    """For each row with a source and a user_id, whether it is a forgotten user's."""
    pairs = zip(batch.column("source").to_pylist(), batch.column("user_id").to_pylist(), strict=True)
    return pa.array([who.known(source, user) is not None for source, user in pairs], pa.bool_())


def of_sources(frame: DataFrame, who: Suppressed) -> DataFrame:
    """The frame's rows of the sources that have forgotten users."""
    return frame.where(F.col("source").isin(sorted(who.digests)))


def possible_ids(text: str) -> set[str]:
    """Every part of a text that may be a user's id: JSON strings, words, and pieces of words between signs."""
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
