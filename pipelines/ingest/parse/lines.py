"""Second step of ingest: RAW_LOG lines -> the fields of each, or the reason why it is refused.

The reasons, in the order in which they are checked (a line has one reason):

- `too_long`: more than 1 MiB
- `not_utf8`: the bytes are not UTF-8
- `not_json`: a JSON line that is not exactly one complete object (cut off, two records joined together, blank)
- `duplicate_field`: a JSON object that holds a field which we read more than once
- `wrong_column_count`: a MIND line without exactly five tab-separated columns
- `missing_field`: impression id, user id, time, history or shown is absent, null or of a wrong type, an id is empty,
  or a list holds a value that is no id. An empty history is valid, and numbers are read as ids. A log without columns
  of impression ids or shown news has them implied (`implied.py`); a click without its news lacks `shown`
- `bad_id`: an id with a backslash, a control character or white space, or of more than 256 bytes
- `bad_time`: not in the time format, before the run's earliest time (1990), or more than a day after the line arrived
- `nothing_shown`: the list of shown news is empty
- `bad_click_mark`: click marks on some shown news only, a mark other than 0 or 1, or `clicked` is no list of ids
- `clicked_not_shown`: a clicked news is not among those shown

A news shown twice in one impression is one candidate, at its first place, clicked if either was (DESIGN §3, rule 4).

Both engines parse lines by one function over Arrow, `parse_batch`, so that their results are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache, partial

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BooleanType,
    DataType,
    DoubleType,
    LongType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from pipelines.ingest.parse.click_marks import with_marked_clicks, with_suffix_clicks
from pipelines.ingest.parse.implied import with_implied_id, with_implied_shown
from pipelines.ingest.parse.json_fields import JsonFields
from pipelines.ingest.parse.mapping import LogMapping, mapping_of
from pipelines.ingest.parse.mind_fields import fields_of_mind
from pipelines.ingest.parse.rules import Fields, first_broken, reasons
from pipelines.ingest.parse.shown_news import ShownNews
from pipelines.ingest.parse.text_lists import Bools, as_numpy, binaries, spans
from pipelines.ingest.parse.times import micros_of
from schemas.raw_log import RAW_LOG, WITHHELD

LONGEST_LINE_BYTES = 1 << 20
PARSED_FIELDS = ("impression_id", "user_id", "time", "history", "shown", "clicked_ids")
EARLIEST = date(1990, 1, 1)  # an earlier time comes from a clock that was never set, or from a wrong unit
MIND = LogMapping(time_format="M/d/yyyy h:mm:ss a")
_MIND_TIME = r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4} [0-9]{1,2}:[0-9]{2}:[0-9]{2} [AP]M$"
_ROWS, _BYTES = 4096, 16 << 20  # parsed at once
_AT = pa.timestamp("us", "UTC")
_IDS = ArrayType(StringType())
_TYPES: dict[str, DataType] = {
    **{"impression_id": StringType(), "user_id": StringType(), "time": TimestampType()},
    **{"history": _IDS, "shown": _IDS, "clicked_ids": _IDS},
}
_EXTRA: dict[str, DataType] = {
    **{"string": StringType(), "long": LongType(), "double": DoubleType(), "boolean": BooleanType()},
}


def with_parsed(raw: DataFrame, format: str, earliest: date = EARLIEST) -> DataFrame:
    """Adds to RAW_LOG rows the fields of each line: PARSED_FIELDS (`clicked_ids` null = unlabelled), `repeated_news` (a
    news was shown twice), the mapping's extra columns, and `reason`, null if usable. The rows are of one format, or
    withheld.
    """
    return _parsed(raw, format, earliest, drop_repeats=True)


def with_all_parsed(raw: DataFrame, format: str, earliest: date = EARLIEST) -> DataFrame:
    """As `with_parsed`, but `shown` as logged, repeated news included; and no `repeated_news`."""
    return _parsed(raw, format, earliest, drop_repeats=False)


def keep_parsed(parsed: DataFrame) -> DataFrame:
    """The usable lines: source, batch, fields and extra columns."""
    known = {*RAW_LOG.column_names, *PARSED_FIELDS, "reason"}
    extra = [name for name in parsed.columns if name not in known]
    return parsed.where(F.col("reason").isNull()).select("source", "batch", *PARSED_FIELDS, *extra)


def keep_rejects(parsed: DataFrame) -> DataFrame:
    """REJECTS rows of the refused lines."""
    refused = parsed.where(F.col("reason").isNotNull())
    fields = [StructField("line", StringType()) if of.name == "line" else of for of in refused.schema.fields]
    return refused.mapInArrow(_readable, StructType(fields))


def readable(lines: pa.Array) -> pa.Array:
    """Lines of bytes as text, with U+FFFD for each sequence that is not UTF-8."""
    return pa.array(
        [None if line is None else line.decode("utf-8", "replace") for line in lines.to_pylist()], pa.string()
    )


def parse_batch(
    batch: pa.RecordBatch, format: str, earliest: date = EARLIEST, *, drop_repeats: bool = True
) -> pa.RecordBatch:
    """Rows with `line`, `format` and `arrived_at` of RAW_LOG, and any other columns -> the same columns and those that
    `with_parsed` adds; without `drop_repeats`, those of `with_all_parsed`.
    """
    lines = batch.column("line").cast(pa.binary())
    known = _faults(lines, batch.column("format"))
    skipped = np.zeros(len(lines), np.bool_)
    if known:
        skipped[list(known)] = True
        lines = pc.if_else(pa.array(skipped), b"", lines)
    mapping = MIND if format == "mind" else mapping_of(format)
    fields = _fields_of(format)(lines, skipped)
    time = _time_of(fields.time_text, mapping, format)
    fields = with_implied_id(fields, time, mapping)
    news = ShownNews.of(fields.shown, fields.clicked)
    codes = first_broken(fields, time, news.clicked_not_shown(fields.clicked), batch.column("arrived_at"), earliest)
    shown, repeated = news.without_repeats() if drop_repeats else (fields.shown, None)
    columns = {field.name: batch.column(at) for at, field in enumerate(batch.schema)}
    columns |= {"impression_id": fields.impression_id, "user_id": fields.user_id, "time": time.cast(_AT)}
    columns |= {"history": fields.history, "shown": shown, "clicked_ids": fields.clicked}
    columns |= {} if repeated is None else {"repeated_news": repeated}
    columns |= {**fields.extra, "reason": reasons(codes, known)}
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))


def parse_batches(
    batches: Iterable[pa.RecordBatch], *, format: str, earliest: date, drop_repeats: bool
) -> Iterator[pa.RecordBatch]:
    """`parse_batch` for many batches, each in parts that take little memory."""
    for batch in batches:
        at = spans(batch.column("line"))[1]
        first = 0
        while first < len(batch):
            within_bytes = int(np.searchsorted(at, at[first] + _BYTES, side="right")) - 1 - first
            some = batch.slice(first, max(1, min(_ROWS, within_bytes)))
            yield parse_batch(some, format, earliest, drop_repeats=drop_repeats)
            first += len(some)


def _parsed(raw: DataFrame, format: str, earliest: date, *, drop_repeats: bool) -> DataFrame:
    _fields_of(format)  # a format that cannot be read stops the run here, and not in each worker
    extra = {} if format == "mind" else {name: _EXTRA[of.type] for name, of in mapping_of(format).extra.items()}
    repeated = {"repeated_news": BooleanType()} if drop_repeats else {}
    schema = StructType([*raw.schema.fields])  # `add` changes the list that it is given
    for name, kind in {**_TYPES, **repeated, **extra, "reason": StringType()}.items():
        schema = schema.add(name, kind)
    parse = partial(parse_batches, format=format, earliest=earliest, drop_repeats=drop_repeats)
    return raw.mapInArrow(parse, schema)


def _readable(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        at = batch.schema.get_field_index("line")
        columns = [readable(column) if number == at else column for number, column in enumerate(batch.columns)]
        yield pa.RecordBatch.from_arrays(columns, batch.schema.names)


@cache
def _fields_of(format: str) -> Callable[[pa.Array, Bools], Fields]:
    """A function that reads the fields of lines of a format, clicks by click marks and implied news included."""
    if format == "mind":
        return fields_of_mind
    mapping = mapping_of(format)
    reader = JsonFields(mapping)
    micros_of(pa.nulls(0, pa.string()), mapping)  # InputError for a pattern that cannot be read
    marked = {"marks": with_marked_clicks, "suffixes": with_suffix_clicks}.get(mapping.clicked_as)

    def fields(lines: pa.Array, skipped: Bools) -> Fields:
        found = reader.of_lines(lines, skipped)
        return with_implied_shown(found if marked is None else marked(found), mapping)

    return fields


def _time_of(texts: pa.Array, mapping: LogMapping, format: str) -> pa.Array:
    if format == "mind":
        texts = pc.if_else(pc.match_substring_regex(texts, _MIND_TIME), texts, None)
    return micros_of(texts, mapping)


def _faults(lines: pa.Array, formats: pa.Array) -> dict[int, str]:
    """The reasons of the lines that are not parsed, by row: withheld, too long or not UTF-8."""
    found: dict[int, str] = {}
    for row in np.flatnonzero(as_numpy(pc.equal(formats, WITHHELD))).tolist():
        found[row] = msgspec.json.decode(lines[row].as_py())["reason"]
    data, at = spans(lines)
    long = np.diff(at) > LONGEST_LINE_BYTES
    found |= {row: "too_long" for row in np.flatnonzero(long).tolist() if row not in found}
    try:
        binaries(data, at).cast(pa.string())  # casting a slice, pyarrow 14 checks other bytes
    except pa.ArrowInvalid:
        for row, line in enumerate(lines):
            if row not in found and not _is_utf8(line.as_py()):
                found[row] = "not_utf8"
    return found


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
