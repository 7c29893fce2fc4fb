"""What a JSON line tells, by a log's mapping: its fields, and whether it is one whole object at all."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.mapping import Extra, LogMapping

_LISTS = ("history", "shown", "clicked")
_IDS = ("impression_id", "user_id", *_LISTS)
_ISO_TIME = r"^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}:\d{2}(\.\d{1,6})?(Z|[+-]\d{2}:\d{2})?$"
_OFFSET = r"(Z|[+-]\d{2}:\d{2})$"
_PLAIN = r"^[\x01!-Z\]-z|}~]*\z"  # printable ASCII but for blanks, backslashes and brackets
_BETWEEN = "\x01"  # parts ids where they are looked at together: one that holds it has a backslash in its line
_CORRUPT = "_malformed"
_MARKS = ("0", "1", "false", "true")


def with_json_fields(lines: DataFrame, mapping: LogMapping) -> DataFrame:
    """The fields of each line's `_text`; `_malformed`: why it has none; `_bad_mark`; `_plain`: its ids are fine."""
    options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
    record = lines.withColumns(
        {"_record": F.from_json("_text", _schema(mapping), options), "_keys": F.json_object_keys("_text")}
    )
    told = {name: F.col(f"_record.{_quoted(column)}") for name, column in mapping.columns.items()}
    if mapping.clicked_as == "id":
        told["clicked"] = F.when(told["clicked"].isNotNull(), F.array(told["clicked"]))
    fields = record.select(
        *lines.columns,
        "_keys",
        F.col(f"_record.{_CORRUPT}").alias("_corrupt"),
        told.get("impression_id", F.lit(None).cast("string")).alias("impression_id"),
        told["user_id"].alias("user_id"),
        told["time"].alias("_time_text"),
        told.get("history", F.array().cast("array<string>")).alias("history"),
        told.get("shown", F.lit(None).cast("array<string>")).alias("shown"),
        told.get("clicked", F.lit(None).cast("array<string>")).alias("_clicked"),
        F.concat_ws(_BETWEEN, F.lit(""), *(told[name] for name in _IDS if name in told)).alias("_ids"),
        *(_extra(extra).alias(name) for name, extra in mapping.extra.items()),
    )
    return fields.select(
        *lines.columns,
        F.when(~_one_object(), "not_json").when(_told_twice(mapping), "duplicate_field").alias("_malformed"),
        "impression_id",
        "user_id",
        "_time_text",
        _time(F.col("_time_text"), mapping).alias("time"),
        "history",
        "shown",
        (_by_marks() if mapping.clicked_as == "marks" else F.col("_clicked")).alias("clicked_ids"),
        _bad_mark(mapping).alias("_bad_mark"),
        _plain().alias("_plain"),
        *mapping.extra,
    )


def _schema(mapping: LogMapping) -> str:
    """What to read of a record: all as text, so that a type in the log is no reason to lose a line."""
    leaves = {extra.column: "string" for extra in mapping.extra.values()}
    kinds = {name: "array<string>" if mapping.is_list(name) else "string" for name in mapping.columns}
    leaves |= {column: kinds[name] for name, column in mapping.columns.items()}
    return f"{_fields(leaves)}, {_CORRUPT} string"


def _fields(leaves: dict[str, str], colon: str = " ") -> str:
    told = []
    for name in dict.fromkeys(column.partition(".")[0] for column in leaves):
        below = {column.partition(".")[2]: kind for column, kind in leaves.items() if column.startswith(f"{name}.")}
        told.append(f"`{name}`{colon}" + (f"struct<{_fields(below, ': ')}>" if below else leaves[name]))
    return ", ".join(told)


def _quoted(column: str) -> str:
    return ".".join(f"`{part}`" for part in column.split("."))


def _extra(extra: Extra) -> Column:
    column = F.col(f"_record.{_quoted(extra.column)}")
    return column if extra.type == "string" else column.try_cast(extra.type)


def _one_object() -> Column:
    """Whether the text is exactly one JSON object.

    Spark's parsers stop where the first object ends: what follows it (a second record, its line feed lost) would be
    lost without a word. Where that end is not plain to see, the text is looked at as a value inside an object that also
    holds a name which no text can hold, its own hash: it is found again only if the text is one value.
    """
    to_first_brace = F.octet_length(F.substring_index(F.col("_text"), "}", 1))
    first_brace_ends_it = F.endswith("_text", F.lit("}")) & (to_first_brace == F.octet_length("_text") - 1)
    hash = F.xxhash64("_text").cast("string")
    inside = F.json_object_keys(F.concat(F.lit('{"":'), F.col("_text"), F.lit(',"'), hash, F.lit('":0}')))
    whole = F.when(first_brace_ends_it, True).otherwise(F.coalesce(inside == F.array(F.lit(""), hash), F.lit(False)))
    # What the keys' parser lets pass and the fields' does not, such as a raw control character.
    nothing_read = F.coalesce("impression_id", "user_id", "_time_text").isNull() & F.col("shown").isNull()
    unread = F.col("_corrupt").isNotNull() & nothing_read
    return F.coalesce(F.col("_keys").isNotNull() & whole & ~unread, F.lit(False))


def _plain() -> Column:
    """Whether all ids are certainly fine, but for their length: none is empty or has a letter that needs a closer look.

    One pattern over all of them, for a pattern for each costs far more. What parts them can only be in an id if it was
    written with a backslash.
    """
    ids = F.col("_ids")
    parted = (
        ~F.contains("_text", F.lit("\\")) & ~F.contains(ids, F.lit(2 * _BETWEEN)) & ~F.endswith(ids, F.lit(_BETWEEN))
    )
    return parted & ids.rlike(_PLAIN)


def _told_twice(mapping: LogMapping) -> Column:
    """Whether a name that we read stands twice in its object: which of them counts would be the parser's choice."""
    columns = [*mapping.columns.values(), *(extra.column for extra in mapping.extra.values())]
    parents = {"": {column.partition(".")[0] for column in columns}}
    for column in columns:
        parts = column.split(".")
        for depth in range(1, len(parts)):
            parents.setdefault(".".join(parts[:depth]), set()).add(parts[depth])
    nested = [
        _twice(F.json_object_keys(F.get_json_object("_text", f"$.{parent}")), names)
        for parent, names in parents.items()
        if parent
    ]
    return functools.reduce(operator.or_, nested, _twice(F.col("_keys"), parents[""]))


def _twice(keys: Column, names: Iterable[str]) -> Column:
    wanted = F.array(*(F.lit(name) for name in sorted(names)))
    ours = F.size(F.filter(keys, lambda key: F.array_contains(wanted, key)))
    any_twice = F.size(F.array_distinct(keys)) < F.size(keys)
    return F.coalesce(any_twice & (ours > F.size(F.array_intersect(keys, wanted))), F.lit(False))


def _bad_mark(mapping: LogMapping) -> Column:
    """`clicked` is there, but no list; or its marks are none, or not one for each shown news."""
    no_list = F.col("_clicked").isNull() & F.col("_corrupt").isNotNull()
    if mapping.clicked_as != "marks":
        return no_list
    marks = F.array(*(F.lit(mark) for mark in _MARKS))
    strange = (F.size("_clicked") != F.size("shown")) | (F.size(F.array_except("_clicked", marks)) > 0)
    return no_list | F.coalesce(strange, F.lit(False))


def _by_marks() -> Column:
    return F.when(
        F.col("_clicked").isNotNull(),
        F.filter("shown", lambda _, place: F.get(F.col("_clicked"), place).isin("1", "true")),
    )


def _time(text: Column, mapping: LogMapping) -> Column:
    """The time by the mapping's format; null where it is none."""
    if mapping.time_format == "epoch_seconds":
        micros = text.cast("decimal(20,6)") * F.lit(1_000_000)
        return F.when(text.rlike(r"^\d{1,11}(\.\d{1,6})?$"), F.timestamp_micros(micros.cast("long")))
    if mapping.time_format == "epoch_milliseconds":
        return F.when(text.rlike(r"^\d{1,14}$"), F.timestamp_millis(text.cast("long")))
    if mapping.time_format == "iso":
        time = F.when(text.rlike(_ISO_TIME), F.try_to_timestamp(text))
        local = ~text.rlike(_OFFSET)
    else:
        time = F.try_to_timestamp(text, F.lit(mapping.time_format))
        local = F.lit(not any(letter in mapping.time_format for letter in "XxZzVO"))
    if mapping.time_zone == "UTC":
        return time
    return F.when(local, F.to_utc_timestamp(time, mapping.time_zone)).otherwise(time)
