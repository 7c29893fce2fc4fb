"""Writes a batch's observations into IMPRESSIONS and ALIASES: appends new rows, changes stored rows linked to them.

A batch is planned before anything is written, and the plan's counts go into the note of the first commit: a run that
completes a killed one finds them there, for by then the lines seem to add nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.delta.commits import Mark
from pipelines.delta.merge import INCOMING, STORED
from pipelines.delta.table_ddl import literal
from pipelines.engine.scratch import Keep
from pipelines.ingest.batch.run_records import app_id, impression_notes, of_source
from pipelines.ingest.parse.mapping import mapping_of
from pipelines.ingest.resolve.dedupe import (
    COUNTS,
    alias_rows,
    linked_impressions,
    new_rows,
    single_impressions,
    stored_changes,
    stored_observations,
    unlinked_impressions,
)
from pipelines.ingest.resolve.histories import with_offset
from pipelines.ingest.resolve.linking import counted_keys, drop_linked, keep_linked, met_keys, shared_keys, with_keys
from pipelines.ingest.resolve.observations import per_observation
from pipelines.lake.tables import Lake
from schemas.errors import InputError
from schemas.impression import ALIASES, IMPRESSIONS

_ROW_KEY = ("user_id", "impression_id", "time", "date")
_SPARK_TYPES = {"long": "bigint"}
_EPOCH = datetime(1970, 1, 1)
_BROADCAST = 2_000_000  # lines whose keys every task can hold: about 50 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch's rows for IMPRESSIONS, and the counts of its lines."""

    unlinked: DataFrame
    linked: DataFrame | None
    times: DataFrame  # with the times of all rows
    counts: dict[str, int]  # of COUNTS


def plan_impressions(
    lake: Lake,
    lines: DataFrame,
    offsets: DataFrame | None,
    *,
    source: str,
    batch: int,
    extra: Sequence[str],
    keep: Keep,
) -> Plan:
    """The changes of the present IMPRESSIONS by the batch's observations (`lines`, kept).

    `offsets`: of their histories; None if each is a prefix of a sequence.
    """
    dates, count, repeated = _dates_and_sums(lines)
    stored = of_source(lake, IMPRESSIONS, source) if lake.exists(IMPRESSIONS) else None
    near = None if stored is None else _stored_near(stored, dates)
    keys = keep(counted_keys(lines))
    near_by = F.broadcast if count <= _BROADCAST else _without_hint  # with the hint, stored rows are not shuffled
    met = None if near is None else keep(met_keys(_keyed_observations(near), near_by(keys)))
    shared = near_by(keep(shared_keys(keys, met)))
    placed = lines if offsets is None else with_offset(lines, offsets)
    every = {"lines": count, "gained": count, "repeated_news": repeated}
    if shared.isEmpty():
        unlinked = single_impressions(placed, batch=batch, extra=extra)
        return Plan(unlinked=unlinked, linked=None, times=lines, counts=dict.fromkeys(COUNTS, 0) | every)
    grouped = keep(per_observation(keep_linked(placed, shared), extra))
    shared_again = near_by(keep(shared_keys(counted_keys(grouped), met)))
    linked = keep_linked(grouped, shared_again)
    touched = None if near is None or met is None else keep(_with_met_key(near, met, near_by))
    linked = keep(
        linked_impressions(
            _with_stored_columns(linked, stored, extra), touched, batch=batch, extra=_extra_of(stored, extra)
        )
    )
    alone = drop_linked(grouped, shared_again)
    single = single_impressions(drop_linked(placed, shared), batch=batch, extra=extra)
    unlinked = single.unionByName(unlinked_impressions(alone, batch=batch, extra=extra))
    return Plan(unlinked=unlinked, linked=linked, times=lines, counts=_counts(every, grouped, alone, linked))


def _counts(every: dict[str, int], grouped: DataFrame, alone: DataFrame, linked: DataFrame) -> dict[str, int]:
    """COUNTS of a batch of lines: a line that shares no key gains a row; so does the first line of an unlinked
    observation, copies of its lines count as replayed, and the rest as retold.
    """
    of_grouped, of_alone = (_sums(frame) for frame in (grouped, alone))
    found = linked.agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in COUNTS)).collect()[0].asDict()
    unlinked = {
        "lines": of_alone["lines"],
        "gained": of_alone["observations"],
        "replayed": of_alone["lines"] - of_alone["distinct_lines"],
        "retold": of_alone["distinct_lines"] - of_alone["observations"],
        "repeated_news": of_alone["repeated"],
    }
    count = every["lines"] - of_grouped["lines"]
    single = {"lines": count, "gained": count, "repeated_news": every["repeated_news"] - of_grouped["repeated"]}
    return {name: single.get(name, 0) + unlinked.get(name, 0) + found[name] for name in COUNTS}


def refuse_other_types(lake: Lake, format: str) -> None:
    """InputError, before anything is written, if an extra column of these lines has another type in IMPRESSIONS."""
    if format == "mind" or not lake.exists(IMPRESSIONS):
        return
    held = dict(lake.read(IMPRESSIONS).dtypes)
    for name, extra in mapping_of(format).extra.items():
        wanted = _SPARK_TYPES.get(extra.type, extra.type)
        if held.get(name, wanted) != wanted:
            raise InputError(
                f"{lake.path(IMPRESSIONS)}: extra column {name} is {held[name]} there, and {extra.type} in this run's "
                "mapping. Give it the type that it had, or another name"
            )


def write_impressions(lake: Lake, plan: Plan, *, source: str, batch: int, since: int) -> dict[str, int]:
    """Commit the plan; returns the counts of the first run that planned this batch."""
    note = {"source": source, "batch": batch}
    notes = impression_notes(lake, source, batch, since=since)
    first = next((earlier["plan"] for earlier in notes if "plan" in earlier), None)
    rows = plan.unlinked
    if plan.linked is not None:
        rows = rows.unionByName(new_rows(plan.linked), allowMissingColumns=True)
    lake.append(
        IMPRESSIONS,
        rows.withColumn("source", F.lit(source)).hint("rebalance", "date"),  # few dates a task
        app_id=app_id(IMPRESSIONS, source),
        app_version=batch,
        note=note | {"plan": plan.counts},
        evolve=True,
        times=plan.times,
    )
    if plan.linked is not None:
        _change_linked(lake, plan.linked, source, note)
        _merge_aliases(lake, plan.linked, source)
    return first or plan.counts


def _change_linked(lake: Lake, linked: DataFrame, source: str, note: dict[str, object]) -> None:
    """Replace the stored rows that the batch changes, whatever their new key, in one commit."""
    changes = stored_changes(linked).withColumn("source", F.lit(source))
    dates = sorted({row["date"] for row in changes.select("old.date").distinct().collect()})
    if dates:
        where = f"{STORED}.source = {literal(source)} AND {_in_dates(f'{STORED}.date', dates)}"
        lake.change(IMPRESSIONS, changes, where=where, mark=Mark(note=note))


def _merge_aliases(lake: Lake, linked: DataFrame, source: str) -> None:
    aliases = alias_rows(linked)
    micros = F.unix_micros("time")
    ends = aliases.agg(F.min(micros), F.max(micros)).collect()[0]  # numbers: a time's text differs between engines
    if ends[0] is None:
        return
    first, last = ((_EPOCH + timedelta(microseconds=end)).strftime("%Y-%m-%d %H:%M:%S.%f") for end in ends)
    canonical = ("canonical_id", "canonical_time")
    differs = " OR ".join(f"{STORED}.{name} != {INCOMING}.{name}" for name in canonical)
    between = f"{STORED}.time BETWEEN TIMESTAMP '{first} UTC' AND TIMESTAMP '{last} UTC'"
    lake.merge(
        ALIASES,
        aliases.withColumn("source", F.lit(source)),
        set_on_match={name: f"{INCOMING}.{name}" for name in canonical},
        update_when=differs,
        where=f"{STORED}.source = {literal(source)} AND {between}",
    )


def _dates_and_sums(lines: DataFrame) -> tuple[list[date], int, int]:
    """The UTC dates of the lines, the number of lines, and the number that showed a news twice."""
    repeated = F.coalesce(F.sum("repeated"), F.lit(0))
    row = lines.agg(F.collect_set("date").alias("dates"), F.count("*"), repeated).collect()[0]
    return sorted(row["dates"]), row[1], row[2]


def _sums(observations: DataFrame) -> dict[str, int]:
    sums = {"lines": F.col("lines"), "distinct_lines": F.size("variants"), "repeated": F.col("repeated")}
    found = (F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in sums.items())
    return observations.agg(*found, F.count("*").alias("observations")).collect()[0].asDict()


def _extra_of(stored: DataFrame | None, extra: Sequence[str]) -> list[str]:
    """The batch's extra columns, and those that only stored rows have: a row with a new key keeps them."""
    held = [] if stored is None else stored.columns
    return [*extra, *(name for name in held if name not in (*IMPRESSIONS.column_names, *extra))]


def _with_stored_columns(observations: DataFrame, stored: DataFrame | None, extra: Sequence[str]) -> DataFrame:
    types = {} if stored is None else dict(stored.dtypes)
    others = [name for name in _extra_of(stored, extra) if name not in extra]
    return (
        observations.withColumns({name: F.lit(None).cast(types[name]) for name in others}) if others else observations
    )


def _stored_near(stored: DataFrame, dates: list[date]) -> DataFrame:
    """Stored rows that may be linked to observations of these dates: others are over 24 h away from all of them."""
    around = sorted({day + timedelta(days=shift) for day in dates for shift in (-2, -1, 0, 1)})
    inside = _in_dates("date", around)
    long = stored.where(f"NOT ({inside}) AND span_days > 1")  # logged for days: the date is only its first day
    return stored.where(inside).unionByName(long)


def _in_dates(column: str, dates: list[date]) -> str:
    """A condition on a partition column, in a form by which Delta skips files."""
    if not dates:
        return "false"
    if len(dates) > 366:  # a log with times spread over centuries: a range is enough
        return f"{column} BETWEEN DATE '{dates[0]}' AND DATE '{dates[-1]}'"
    days = ", ".join(f"DATE '{day}'" for day in dates)
    return f"{column} IN ({days})"


def _keyed_observations(stored: DataFrame) -> DataFrame:
    return stored.transform(stored_observations).transform(with_keys)


def _with_met_key(near: DataFrame, met: DataFrame, near_by: Callable[[DataFrame], DataFrame]) -> DataFrame:
    """Stored rows with an observation that has a key of `met`."""
    wanted = near_by(met.select("row.*").distinct())
    return near.join(wanted, [*_ROW_KEY], how="left_semi")


def _without_hint(frame: DataFrame) -> DataFrame:
    return frame
