"""Between reading and RAW_LOG, under a user key: user ids replaced, and no text kept of lines that cannot be used.

The replaced id is HMAC-SHA256 of the id under the key, in hex. The key is secret: who has it can test whether an id
that he knows is in the lake.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from datetime import date

import pandas as pd
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.functions import pandas_udf

from pipelines.ingest.mapping import JSONL, mapping_of
from pipelines.ingest.parse import EARLIEST, with_all_told
from pipelines.tables import Lake
from schemas.errors import InputError
from schemas.raw_log import RAW_LOG, WITHHELD

SHORTEST_KEY_BYTES = 16
_ISO = "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX"
_NO_KEY = "none"


def user_key(text: bytes, *, where: str) -> bytes:
    """The key, without the line end that an editor adds; InputError, which never shows it, if it is too short."""
    key = text.rstrip(b"\r\n")
    if len(key) < SHORTEST_KEY_BYTES:
        raise InputError(
            f"{where}: a user key of {len(key)} bytes; give at least {SHORTEST_KEY_BYTES} random ones, such as "
            "`openssl rand -hex 32` writes"
        )
    return key


def settle_user_key(lake: Lake, source: str, key: bytes | None) -> None:
    """Note which key a source's user ids are replaced by; InputError where it was another until now, or none."""
    refuse_other_key(lake, source, key)
    lake.create(RAW_LOG)
    lake.note(RAW_LOG, _note_of(source), _fingerprint(key))


def refuse_other_key(lake: Lake, source: str, key: bytes | None) -> None:
    """InputError where a source's user ids were replaced by another key until now, or by none.

    Ids under two keys, or with and without one, would make two users of each.
    """
    if not lake.exists(RAW_LOG):
        return
    told = _fingerprint(key)
    noted = lake.notes(RAW_LOG).get(_note_of(source))
    if noted is None and not lake.read(RAW_LOG).where(F.col("source") == source).isEmpty():
        noted = _NO_KEY  # ingested before there were keys
    if noted is not None and noted != told:
        was = "without a user key" if noted == _NO_KEY else "with a user key"
        now = "without one" if key is None else "with one" if noted == _NO_KEY else "with another"
        raise InputError(
            f"{lake.root}: {source} was ingested {was} so far, and this run is {now}: each user would become two. "
            "Give --user-key-file as before, or ingest into a new --source or lake"
        )


def with_replaced_users(lines: DataFrame, format: str, key: bytes, earliest: date = EARLIEST) -> DataFrame:
    """RAW_LOG rows that hold no user id: a usable line as JSON of our own fields with the replaced id, another as its
    HMAC, its length and the reason why it is refused (`format` withheld).
    """
    judged = with_all_told(lines, format, earliest)
    mapping = mapping_of(JSONL if format == "mind" else format)
    record = F.struct(
        "impression_id",
        _replaced(key)(F.col("user_id")).alias("user_id"),
        F.date_format("time", _ISO).alias("time"),
        "history",
        "shown",
        F.col("clicked_ids").alias("clicked"),
        *(F.col(name).cast("string").alias(name) for name in mapping.extra),
    )
    usable = F.col("reason").isNull()
    sealed = _sealed(key)(F.when(~usable, F.col("line")))  # a bare hash would tell who can guess the line
    withheld = F.struct(sealed.alias("hmac_sha256"), F.octet_length("line").alias("bytes"), "reason")
    own = mapping.parsed.as_format
    kept = {
        "line": F.when(usable, F.to_json(record)).otherwise(F.to_json(withheld)).cast("binary"),
        "format": F.when(usable, own).otherwise(WITHHELD),
    }
    return judged.select(*(kept[name].alias(name) if name in kept else F.col(name) for name in lines.columns))


def _replaced(key: bytes) -> Callable[[Column], Column]:
    """A vectorised Python function, though built-ins could compute it: what they take stands in the plan as a literal,
    and Spark writes plans into its logs, its event log and its UI. A closure travels as bytes that none of them show.
    """

    def replaced(ids: pd.Series) -> pd.Series:
        codes, known = pd.factorize(ids)
        told = [hmac.digest(key, id.encode(), "sha256").hex() for id in known]
        return pd.Series([told[code] if code >= 0 else None for code in codes], dtype=object)

    return pandas_udf(replaced, "string")  # type: ignore[call-overload, no-any-return]


def _sealed(key: bytes) -> Callable[[Column], Column]:
    """As `_replaced`, of whole lines."""

    def sealed(lines: pd.Series) -> pd.Series:
        told = [None if line is None else hmac.digest(key, bytes(line), "sha256").hex() for line in lines]
        return pd.Series(told, dtype=object)

    return pandas_udf(sealed, "string")  # type: ignore[call-overload, no-any-return]


def _note_of(source: str) -> str:
    return f"user_key.{source}"


def _fingerprint(key: bytes | None) -> str:
    return _NO_KEY if key is None else hmac.digest(key, b"feedloop user key", hashlib.sha256).hex()[:32]
