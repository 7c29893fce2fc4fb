"""The text of a time -> the time, by a mapping's format and zone.

No look-around and no back-references: other engines' regular expressions have none.
"""

from __future__ import annotations

from pyspark.sql import Column
from pyspark.sql import functions as F

from pipelines.ingest.mapping import EPOCHS, LogMapping

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_COMMON = rf"^{_DAY}[T ][0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}(\.[0-9]{{1,6}})?(Z|[+-][0-9]{{2}}:[0-9]{{2}})?$"
_OFFSET = r" ?(Z|UTC|GMT|[+-][0-9]{2}(:?[0-9]{2})?)$"
_ISO = rf"^{_DAY}[T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}(\.[0-9]{{1,9}})?)?({_OFFSET.removesuffix('$')})?$"
_COMPACT = "^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})"
_NO_SECONDS = f"^({_DAY}[T ][0-9]{{2}}:[0-9]{{2}})([^:].*)?$"
_NUMBER = r"^-?[0-9]{1,20}(\.[0-9]*)?([eE][+]?[0-9]{1,2})?$"


def time_of(text: Column, mapping: LogMapping) -> Column:
    """The time that the text holds, null if it holds none in the mapping's format."""
    if mapping.time_format in EPOCHS:
        return _epoch(text, EPOCHS[mapping.time_format])
    if mapping.time_format == "iso":
        # The other forms cost more, so they are looked for only where the common one is not found.
        iso = F.when(text.rlike(_COMMON), text).otherwise(_as_common(text))
        time, local = F.try_to_timestamp(iso), ~iso.rlike(_OFFSET)
    else:
        time = F.try_to_timestamp(text, F.lit(mapping.time_format))
        local = F.lit(not any(letter in mapping.time_format for letter in "XxZzVO"))
    if mapping.time_zone == "UTC":
        return time
    return F.when(local, F.to_utc_timestamp(time, mapping.time_zone)).otherwise(time)


def _as_common(text: Column) -> Column:
    """A date and time in another form of ISO 8601 or RFC 3339, as Spark reads it; null if it is none."""
    without_region = F.substring_index(text, "[", 1)  # Java adds one: +01:00[Europe/Oslo]
    letters = F.translate(without_region, ",tz", ".TZ")
    dashed = F.regexp_replace(letters, _COMPACT, "$1-$2-$3 $4:$5:$6")
    with_seconds = F.regexp_replace(dashed, _NO_SECONDS, "$1:00$2")
    return F.when(dashed.rlike(_ISO), with_seconds)


def _epoch(text: Column, unit: int) -> Column:
    """A number of seconds times 10^unit, whole or not, in plain or scientific notation; finer than 1 us is cut off."""
    number = text.try_cast("decimal(28,9)")  # times 10^6 it still fits, so that no line can stop the run
    micros = F.floor(number * F.lit(f"1e{unit + 6}").cast("decimal(10,3)")).try_cast("long")
    return F.when(text.rlike(_NUMBER), F.timestamp_micros(micros))
