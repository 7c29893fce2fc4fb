"""What a JSON line tells, by a log's mapping: its fields, and whether it is one whole object at all.

A line is JSON as RFC 8259 has it: names are compared exactly, and what the standard does not know (single quotes, NaN,
comments) is no JSON.
"""

from __future__ import annotations

import re

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from pipelines.ingest.ids import BETWEEN, with_whole_numbers
from pipelines.ingest.json_paths import case_groups, schema_of, twice_told, value_at
from pipelines.ingest.mapping import LISTS, LogMapping
from pipelines.ingest.marks import (
    all_marked,
    clicked_by_marks,
    clicked_by_suffix,
    none_marked,
    strange_marks,
    without_suffixes,
)
from pipelines.ingest.times import time_of

_IDS = ("impression_id", "user_id", *LISTS)
_PLAIN = r"^[\x01!-Z\]-z|}~]*\z"  # printable ASCII but for blanks, backslashes and brackets
_CORRUPT = "_malformed"
_STRICT = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": _CORRUPT}
_STRICT |= {"allowSingleQuotes": "false", "allowNonNumericNumbers": "false"}
_AROUND = r"^[\s\[(]+|[\s\])]+$"  # a printed list has brackets around it,
_QUOTES = r"^[\s'\"]+|[\s'\"]+$"  # and may have quotes around each id


def with_json_fields(lines: DataFrame, mapping: LogMapping) -> DataFrame:
    """The fields of each line's `_text`; `_malformed`: why it has none; `_bad_mark`; `_plain`: its ids are fine."""
    leaves = {path: _type(mapping, name) for name, path in mapping.paths.items()}
    groups = case_groups(leaves)
    records = {
        f"_record{at}": F.from_json("_text", f"{schema_of({p: leaves[p] for p in group})}, {_CORRUPT} string", _STRICT)
        for at, group in enumerate(groups)
    }
    record = lines.withColumns(records | {"_keys": F.json_object_keys("_text")})
    of_path = {path: F.col(f"_record{at}") for at, group in enumerate(groups) for path in group}
    told = {name: value_at(of_path[path], path) for name, path in mapping.paths.items()}
    told |= {name: _cut(told[name], form.split) for name, form in mapping.lists.items() if form.split}
    if mapping.clicked_as == "id":
        told["clicked"] = F.when(told["clicked"].isNotNull(), F.array(told["clicked"]))
    none = F.lit(None).cast("array<string>")
    corrupt = [F.col(f"{name}.{_CORRUPT}") for name in records]
    fields = record.select(
        *lines.columns,
        "_keys",
        F.coalesce(*corrupt).alias("_corrupt"),
        told.get("impression_id", F.lit(None).cast("string")).alias("impression_id"),
        told["user_id"].alias("user_id"),
        told["time"].alias("_time_text"),
        told.get("history", F.array().cast("array<string>")).alias("history"),
        told.get("shown", none).alias("shown"),
        told.get("clicked", none).alias("clicked"),
        F.concat_ws(BETWEEN, F.lit(""), *(told[name] for name in _IDS if name in told)).alias("_ids"),
        *(_as(told[name], extra.type).alias(name) for name, extra in mapping.extra.items()),
    )
    twice = twice_told(F.col("_text"), F.col("_keys"), leaves)
    return with_whole_numbers(fields, _IDS).select(
        *lines.columns,
        F.when(~_one_object(), "not_json").when(twice, "duplicate_field").alias("_malformed"),
        "impression_id",
        "user_id",
        "_time_text",
        time_of(F.col("_time_text"), mapping).alias("time"),
        "history",
        *_shown_and_clicked(mapping),
        _plain(mapping).alias("_plain"),
        *mapping.extra,
    )


def _type(mapping: LogMapping, name: str) -> str:
    """As what a field is read: all as text, so that a type in the log is no reason to lose a line."""
    return "array<string>" if mapping.is_list(name) and name not in mapping.lists else "string"


def _as(text: Column, type: str) -> Column:
    return text if type == "string" else text.try_cast(type)


def _cut(text: Column, split: str) -> Column:
    """The ids of a text: brackets around them all, and quotes and white space around each, are no part of them."""
    bare = F.regexp_replace(text, _AROUND, "")
    pieces = F.split(bare, r"\s+" if split.isspace() else re.escape(split.strip()))
    ids = F.transform(pieces, lambda piece: F.regexp_replace(piece, _QUOTES, ""))
    return F.when(bare == "", F.array().cast("array<string>")).otherwise(ids)


def _shown_and_clicked(mapping: LogMapping) -> tuple[Column, Column, Column]:
    """`shown`, `clicked_ids`, and `_bad_mark`: `clicked` is there but no list, or the marks are wrong."""
    shown, clicked = F.col("shown"), F.col("clicked")
    bad = clicked.isNull() & F.col("_corrupt").isNotNull()
    if mapping.clicked_as == "marks":
        bad = bad | F.coalesce(strange_marks(clicked, shown), F.lit(False))
        clicked = clicked_by_marks(clicked, shown)
    elif mapping.clicked_as == "suffixes":
        marked = all_marked(shown)
        bad = F.coalesce(~marked & ~none_marked(shown), F.lit(False))
        clicked = F.when(marked, clicked_by_suffix(shown))
        shown = F.when(marked, without_suffixes(shown)).otherwise(shown)
    return shown.alias("shown"), clicked.alias("clicked_ids"), bad.alias("_bad_mark")


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


def _plain(mapping: LogMapping) -> Column:
    """Whether all ids are certainly fine, but for their length: none is empty or has a letter that needs a closer look.

    One pattern over all of them, for a pattern for each costs far more. What parts them can only be in an id if it was
    written with a backslash.
    """
    ids = F.col("_ids")
    parted = ~F.contains("_text", F.lit("\\")) & ~F.contains(ids, F.lit(2 * BETWEEN)) & ~F.endswith(ids, F.lit(BETWEEN))
    if mapping.clicked_as == "suffixes":  # a mark, and no id
        parted = parted & ~F.array_contains("shown", "-0") & ~F.array_contains("shown", "-1")
    return parted & ids.rlike(_PLAIN)
