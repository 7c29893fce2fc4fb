"""Under a user key, replaces user ids between reading and RAW_LOG, and keeps no text of unusable lines.

The replaced id is HMAC-SHA256 of the id under the key, in hex. The key is secret: its owner can test whether a known id
is in the lake.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.parse.lines import EARLIEST, with_all_parsed
from pipelines.ingest.parse.mapping import JSONL, mapping_of
from pipelines.ingest.read.json_rows import iso_of, json_lines, texts_of
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.raw_log import RAW_LOG, WITHHELD
from schemas.storage.files import read
from schemas.storage.place import Place

SHORTEST_KEY_BYTES = 16
_LARGEST_KEY_FILE = 1 << 16
_FIELDS = ("impression_id", "user_id", "time", "history", "shown", "clicked_ids")  # in the order of the stored JSON
_NO_KEY = "none"


def user_key(text: bytes, *, where: str) -> bytes:
    """The key, without the line end that an editor adds. InputError, which never shows the key, if it is too short."""
    key = text.rstrip(b"\r\n")
    if len(key) < SHORTEST_KEY_BYTES:
        raise InputError(
            f"{where}: a user key of {len(key)} bytes; give at least {SHORTEST_KEY_BYTES} random ones, such as "
            "`openssl rand -hex 32` writes"
        )
    return key


def given_user_key(file: Path | Place | None, variable: str | None) -> bytes | None:
    """The key in the file or, without one, in FEEDLOOP_USER_KEY (`variable`); None if neither is given."""
    if file is not None:
        return user_key(read(Place.of(file), largest=_LARGEST_KEY_FILE), where=str(file))
    return None if variable is None else user_key(variable.encode(), where="FEEDLOOP_USER_KEY")


def has_user_key(lake: Lake, source: str) -> bool:
    """Whether user ids of the source were replaced when its lines came."""
    return lake.notes(RAW_LOG).get(_note_of(source), _NO_KEY) != _NO_KEY


def store_user_key(lake: Lake, source: str, key: bytes | None) -> None:
    """Note the key that replaces a source's user ids. InputError if it was another key until now, or none."""
    refuse_other_key(lake, source, key)
    lake.create(RAW_LOG)
    lake.note(RAW_LOG, _note_of(source), _fingerprint(key))


def refuse_other_key(lake: Lake, source: str, key: bytes | None) -> None:
    """InputError if a source's user ids were replaced by another key until now, or by none.

    Ids under two keys, or with and without one, would split each user in two.
    """
    if not lake.exists(RAW_LOG):
        return
    given = _fingerprint(key)
    noted = lake.notes(RAW_LOG).get(_note_of(source))
    if noted is None and not lake.read(RAW_LOG).where(F.col("source") == source).isEmpty():
        noted = _NO_KEY  # ingested before there were keys
    if noted is not None and noted != given:
        was = "without a user key" if noted == _NO_KEY else "with a user key"
        now = "without one" if key is None else "with one" if noted == _NO_KEY else "with another"
        raise InputError(
            f"{lake.root}: {source} was ingested {was} so far, and this run is {now}: each user would become two. "
            "Give --user-key-file as before, or ingest into a new --source or lake"
        )


def with_replaced_users(lines: DataFrame, format: str, key: bytes, earliest: date = EARLIEST) -> DataFrame:
    """RAW_LOG rows without user ids: a usable line becomes JSON of our own fields with the replaced id, a refused line
    its HMAC, its length and the reason (`format` withheld).

    SQL functions could compute this too, but their plan would hold the key as a literal, and Spark writes plans into
    its logs, its event log and its UI. A closure travels as bytes that none of them show.
    """
    parsed = with_all_parsed(lines, format, earliest)
    mapping = mapping_of(JSONL if format == "mind" else format)
    replace = _ReplaceUsers(key, tuple(lines.columns), mapping.parsed.as_format, tuple(mapping.extra))
    return parsed.select(*lines.columns, *_FIELDS, *replace.extra, "reason").mapInArrow(replace, lines.schema)


@dataclass(frozen=True, slots=True)
class _ReplaceUsers:
    """In a task: parsed lines -> RAW_LOG rows without user ids."""

    key: bytes = field(repr=False)
    columns: tuple[str, ...]  # of the result
    format: str  # of usable lines
    extra: tuple[str, ...]

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            usable = pc.is_null(batch.column("reason"))
            lines = pc.if_else(usable, self._records(batch), self._withheld(batch))
            kept = {"line": lines, "format": pc.if_else(usable, self.format, WITHHELD)}
            columns = [kept[name] if name in kept else batch.column(name) for name in self.columns]
            yield pa.RecordBatch.from_arrays(columns, list(self.columns))

    def _records(self, batch: pa.RecordBatch) -> pa.Array:
        fields = {name: batch.column(name) for name in _FIELDS}
        fields["user_id"] = self._replaced(fields["user_id"])
        fields["time"] = iso_of(fields["time"])
        fields["clicked"] = fields.pop("clicked_ids")
        fields |= {name: texts_of(batch.column(name)) for name in self.extra}
        return json_lines(fields)

    def _replaced(self, ids: pa.Array) -> pa.Array:
        """The HMAC of each id, in hex."""
        each = ids.dictionary_encode()
        hashes = [None if id is None else self._hmac(id.encode()) for id in each.dictionary.to_pylist()]
        return pa.array(hashes, pa.string()).take(each.indices)

    def _withheld(self, batch: pa.RecordBatch) -> pa.Array:
        """JSON with the HMAC of refused lines: a plain hash could be tested by guessing the line."""
        lines, reasons = batch.column("line"), batch.column("reason")
        refused = pc.is_valid(reasons).to_pylist()
        hashes = [self._hmac(line.as_py()) if bad else None for line, bad in zip(lines, refused, strict=True)]
        fields = {"hmac_sha256": pa.array(hashes, pa.string()), "bytes": pc.binary_length(lines), "reason": reasons}
        return json_lines(fields)

    def _hmac(self, text: bytes) -> str:
        return hmac.digest(self.key, text, "sha256").hex()


def _note_of(source: str) -> str:
    return f"user_key.{source}"


def _fingerprint(key: bytes | None) -> str:
    return _NO_KEY if key is None else hmac.digest(key, b"feedloop user key", hashlib.sha256).hex()[:32]
