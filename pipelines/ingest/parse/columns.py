"""Columns of Parquet and Delta logs, of any type -> text, lists of texts and times; or why a column cannot be read.

Ids by type: text, integers, decimals and floats that hold integers, binary that is UTF-8, binary of a fixed size
(UUIDs) in hex. Times: timestamps of any unit, with a zone or without, dates (their midnight), numbers and text by the
mapping's time_format.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.parse.mapping import EACH, EPOCHS, FIELDS, LISTS, LogMapping
from schemas.errors import InputError

AWARE, LOCAL, TEXT = "timestamp", "timestamp_ntz", "string"  # the kinds of a column of times
_EXACT_BITS = {16: 11, 32: 24, 64: 53}  # floats hold the integers below 2^bits exactly
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 to 9999
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def columns_of(batch: pa.RecordBatch, paths: Mapping[str, tuple[str, ...]], mapping: LogMapping) -> pa.RecordBatch:
    """The fields at `paths` under our own names: times by `time_kind`, lists as lists of text, all else as text.

    A value that is no id in a column of ids (1.5 in a column of floats, bytes that are not UTF-8) is null. InputError
    for a column that is missing or of another type.
    """
    found = {name: _field(batch, name, path, mapping) for name, path in paths.items()}
    return pa.RecordBatch.from_arrays(list(found.values()), list(found))


def check_columns(batch: pa.RecordBatch, paths: Mapping[str, tuple[str, ...]], mapping: LogMapping) -> None:
    """InputError for a column that `columns_of` cannot read, or in which it would lose values."""
    read = columns_of(batch, paths, mapping)
    for name in (name for name in paths if name in FIELDS and name != "time"):
        values, texts = _values_at(batch, name, paths[name]), read.column(name)
        if _is_list(values.type):
            values, texts = flattened(values), texts.flatten()
        missing = pc.or_kleene(pc.is_null(values, nan_is_null=pa.types.is_floating(values.type)), pc.is_valid(texts))
        lost = values.filter(pc.invert(missing))
        if len(lost):
            raise InputError(
                f"its column {_dotted(paths[name])} is {_values_at(batch, name, paths[name]).type} and holds "
                f"{lost[0].as_py()!r:.60}, which is no id: {name} is read from text or integers. "
                "Write the column as text, or name another in the mapping"
            )


def time_kind(batch: pa.RecordBatch, path: tuple[str, ...], mapping: LogMapping) -> str:
    """The kind of the column of times: AWARE, LOCAL (in the mapping's zone) or TEXT, which is parsed as in JSON."""
    kind = _time(_values_at(batch, "time", path), path, mapping).type
    return TEXT if pa.types.is_string(kind) else AWARE if kind.tz else LOCAL


def parquet_names(paths: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The columns to read of a Parquet file, by pyarrow's names; lists entirely."""
    return sorted({".".join(path[: path.index(EACH)] if EACH in path else path) for path in paths.values()})


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """A batch without rows, for its types."""
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def _field(batch: pa.RecordBatch, name: str, path: tuple[str, ...], mapping: LogMapping) -> pa.Array:
    column = _values_at(batch, name, path)
    if name == "time":
        return _time(column, path, mapping)
    if name not in FIELDS:
        return _texts(column, name, path, _as_text)
    marks = name == "clicked" and mapping.clicked_as == "marks"
    if not mapping.is_list(name):
        if name in LISTS and _is_list(column.type):
            hint = "split" if name in mapping.lists else "log.clicked_as, which reads it as one news,"
            raise InputError(f"its column {_dotted(path)} is {column.type}: leave {hint} out of the mapping of {name}")
        return _texts(column, name, path, _as_id)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.list_(pa.string()))
    if not _is_list(column.type):
        hint = ' as { column = "...", split = " " } if it is one text' if _is_text(column.type) else ""
        raise InputError(
            f"its column {_dotted(path)} is {column.type}, and {name} is read from a list. Mend the mapping: "
            f"name a column of lists, or write it{hint}"
        )
    if pa.types.is_struct(column.type.value_type):
        raise InputError(
            f"its column {_dotted(path)} is {column.type}: name the field of it that is the id, "
            f'{name} = {{ column = "...", field = "..." }}'
        )
    return lists_like(column, _texts(flattened(column), name, path, _as_mark if marks else _as_id))


def _values_at(batch: pa.RecordBatch, name: str, path: tuple[str, ...]) -> pa.Array:
    """The values at the end of the path; for a path through EACH, lists of the values in the objects."""
    column: pa.Array = pa.StructArray.from_arrays(batch.columns, fields=list(batch.schema))
    for at, part in enumerate(path):
        if part == EACH:
            if not (_is_list(column.type) and pa.types.is_struct(column.type.value_type)):
                raise InputError(
                    f"its column {_dotted(path[:at])} is {column.type}, and the mapping reads {name} from a list of "
                    "objects. Mend the mapping"
                )
            each = flattened(column)
            inner = pa.RecordBatch.from_arrays(each.flatten(), [each.type[i].name for i in range(each.type.num_fields)])
            return lists_like(column, _values_at(inner, name, path[at + 1 :]))
        names = [f.name for f in column.type] if pa.types.is_struct(column.type) else []
        if names.count(part) != 1:
            near = [other for other in names if other.casefold() == part.casefold()]
            hint = " Names are compared exactly." if near and part not in near else ""
            has = "has no column" if part not in names else "has more than one column"
            raise InputError(f"{has} {_dotted(path)}; it has {', '.join(names)}.{hint} Mend the mapping")
        column = pc.struct_field(column, [names.index(part)])
    return column


def _texts(values: pa.Array, name: str, path: tuple[str, ...], read: Callable[[pa.Array], pa.Array | None]) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type):
        return pa.nulls(len(values), pa.string())
    texts = read(values)
    if texts is None:
        what = "is a single value" if pa.types.is_nested(values.type) else "cannot be read from that type"
        raise InputError(f"its column {_dotted(path)} is {values.type}, and {name} {what}. Mend the mapping")
    return texts


def _as_id(values: pa.Array) -> pa.Array | None:
    kind = values.type
    if pa.types.is_integer(kind):
        return values.cast(pa.string())
    if pa.types.is_floating(kind):
        bits = kind.bit_width
        numbers = values.cast(pa.float32()).cast(pa.float64()) if bits == 16 else values.cast(pa.float64())
        exact = pc.and_(pc.equal(pc.floor(numbers), numbers), pc.less(pc.abs(numbers), 2.0 ** _EXACT_BITS[bits]))
        return pc.if_else(exact, numbers, None).cast(pa.int64()).cast(pa.string())
    if pa.types.is_decimal(kind):
        return pa.array([_integer_text(number) for number in values.to_pylist()], pa.string())
    if pa.types.is_fixed_size_binary(kind):
        return pa.array([None if each is None else each.hex() for each in values.to_pylist()], pa.string())
    return _decoded(values) if _is_text(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else None


def _as_mark(values: pa.Array) -> pa.Array | None:
    return values.cast(pa.string()) if pa.types.is_boolean(values.type) else _as_id(values)


def _as_text(values: pa.Array) -> pa.Array | None:
    """An extra column as text, fractions included; None for a type that has no text."""
    kind = values.type
    if pa.types.is_nested(kind) or pa.types.is_duration(kind):
        return None
    plain = pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind)
    if pa.types.is_float16(kind):
        values = values.cast(pa.float32())
    return values.cast(pa.string()) if plain or pa.types.is_decimal(kind) else _as_id(values)


def _time(column: pa.Array, path: tuple[str, ...], mapping: LogMapping) -> pa.Array:
    """Times in microseconds, finer digits cut off; times beyond the years 1 to 9999 become the nearest of these, which
    the rule for times refuses.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.date32()).cast(pa.timestamp("s"))
        kind = column.type
    if pa.types.is_timestamp(kind):
        rate = _PER_SECOND[kind.unit]
        ticks = np.clip(column.cast(pa.int64()).fill_null(0), _FIRST_SECOND * rate, _LAST_SECOND * rate)
        micros = ticks * (10**6 // rate) if rate <= 10**6 else ticks // 1000
        known = pa.array(micros, mask=np.asarray(pc.is_null(column)))
        return known.cast(pa.timestamp("us", "UTC" if kind.tz else None))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        if mapping.time_format not in EPOCHS:
            raise InputError(
                f"its column {_dotted(path)} is {kind}, and times are read as {mapping.time_format}. "
                f"Name the unit of the numbers in the mapping: time_format is one of {', '.join(EPOCHS)}"
            )
        return _texts(column, "time", path, _as_text)
    return _texts(column, "time", path, _as_text if _is_text(kind) or pa.types.is_binary(kind) else _none)


def _none(_: pa.Array) -> None:
    return None


def _integer_text(number: object) -> str | None:
    text = format(number, "f") if number is not None else ""
    integer, _, fraction = text.partition(".")
    return integer if integer and not fraction.strip("0") else None


def _decoded(values: pa.Array) -> pa.Array:
    """The texts; null where bytes are not UTF-8."""
    raw = values.cast(pa.large_binary())
    try:
        return raw.cast(pa.large_string()).cast(pa.string())
    except pa.ArrowInvalid:  # some are not UTF-8: find them one by one
        return pa.array([_utf8(each) for each in raw.to_pylist()], pa.string())


def _utf8(raw: bytes | None) -> str | None:
    text = None if raw is None else raw.decode("utf-8", "replace")
    return text if text is not None and text.encode() == raw else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def flattened(lists: pa.Array) -> pa.Array:
    """The values of all lists that are not null."""
    if pa.types.is_fixed_size_list(lists.type):
        lists = lists.drop_null()
    return lists.flatten()


def lists_like(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Lists as long as `lists`, of other values."""
    lengths = np.asarray(pc.list_value_length(lists).fill_null(0)).astype(np.int64)
    starts = np.append(0, np.cumsum(lengths))
    nulls = np.append(np.asarray(pc.is_null(lists)), False)
    return pa.ListArray.from_arrays(pa.array(starts.astype(np.int32), mask=nulls), values)


def _dotted(path: tuple[str, ...]) -> str:
    """The path as written in messages."""
    return ".".join(part for part in path if part != EACH)
