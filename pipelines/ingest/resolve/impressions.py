"""How a batch's observations reach IMPRESSIONS and ALIASES: new rows appended, stored ones that it tells of changed.

What a batch will do is planned before anything is written, and the plan's figures go into the first commit's note: a
run that completes a killed one finds them there, for by then the lines look as if they told nothing new.
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
from pipelines.ingest.batch.run_records import app, impression_notes, of_source
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
_BROADCAST = 2_000_000  # lines whose keys every task can hold: some 50 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A batch's rows for IMPRESSIONS, and what becomes of its lines."""

    unlinked: DataFrame
    linked: DataFrame | None
    times: DataFrame  # with those of all rows
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
    """What the batch's observations (`lines`, kept) do to IMPRESSIONS as it stands.

    `offsets`: of their histories, where any is no prefix of a sequence.
    """
    dates, count, repeated = _dates_and_sums(lines)
    stored = of_source(lake, IMPRESSIONS, source) if lake.exists(IMPRESSIONS) else None
    near = None if stored is None else _stored_near(stored, dates)
    keys = keep(counted_keys(lines))
    near_by = F.broadcast if count <= _BROADCAST else _as_it_is  # the stored rows then stay where they are
    met = None if near is None else keep(met_keys(_keyed_observations(near), near_by(keys)))
    shared = near_by(keep(shared_keys(keys, met)))
    placed = lines if offsets is None else with_offset(lines, offsets)
    every = {"lines": count, "gained": count, "repeated_news": repeated}
    if shared.isEmpty():
        unlinked = single_impressions(placed, batch=batch, extra=extra)
        return Plan(unlinked=unlinked, linked=None, times=lines, counts=dict.fromkeys(COUNTS, 0) | every)
    gathered = keep(per_observation(keep_linked(placed, shared), extra))
    shared_again = near_by(keep(shared_keys(counted_keys(gathered), met)))
    linked = keep_linked(gathered, shared_again)
    touched = None if near is None or met is None else keep(_touched(near, met, near_by))
    linked = keep(
        linked_impressions(
            _with_stored_columns(linked, stored, extra), touched, batch=batch, extra=_extra_of(stored, extra)
        )
    )
    alone = drop_linked(gathered, shared_again)
    single = single_impressions(drop_linked(placed, shared), batch=batch, extra=extra)
    unlinked = single.unionByName(unlinked_impressions(alone, batch=batch, extra=extra))
    return Plan(unlinked=unlinked, linked=linked, times=lines, counts=_counts(every, gathered, alone, linked))


def _counts(every: dict[str, int], gathered: DataFrame, alone: DataFrame, linked: DataFrame) -> dict[str, int]:
    """COUNTS of a batch of lines: a line that shares no key gains a row; of an observation that is linked to no other the
    first line does, copies of its lines are replays, and the rest tell more.
    """
    all_gathered, by_themselves = (_sums(frame) for frame in (gathered, alone))
    found = linked.agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in COUNTS)).collect()[0].asDict()
    unlinked = {
        "lines": by_themselves["lines"],
        "gained": by_themselves["observations"],
        "replayed": by_themselves["lines"] - by_themselves["distinct_lines"],
        "retold": by_themselves["distinct_lines"] - by_themselves["observations"],
        "repeated_news": by_themselves["repeated"],
    }
    single = every["lines"] - all_gathered["lines"]
    once = {"lines": single, "gained": single, "repeated_news": every["repeated_news"] - all_gathered["repeated"]}
    return {name: once.get(name, 0) + unlinked.get(name, 0) + found[name] for name in COUNTS}


def refuse_other_types(lake: Lake, format: str) -> None:
    """InputError, before anything is written, where an extra column of these lines has another type in IMPRESSIONS."""
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
    """Commit the plan; returns the figures that hold: those of the run that first came here with the batch."""
    note = {"source": source, "batch": batch}
    first = next((told["plan"] for told in impression_notes(lake, source, batch, since=since) if "plan" in told), None)
    rows = plan.unlinked
    if plan.linked is not None:
        rows = rows.unionByName(new_rows(plan.linked), allowMissingColumns=True)
    lake.append(
        IMPRESSIONS,
        rows.withColumn("source", F.lit(source)).hint("rebalance", "date"),  # few dates a task
        app_id=app(IMPRESSIONS, source),
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
    """Stored rows that the batch tells more of become what they are now, whatever their key, in one commit."""
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
    """The UTC dates of the lines, how many there are, and how many of them showed a news twice."""
    repeated = F.coalesce(F.sum("repeated"), F.lit(0))
    row = lines.agg(F.collect_set("date").alias("dates"), F.count("*"), repeated).collect()[0]
    return sorted(row["dates"]), row[1], row[2]


def _sums(observations: DataFrame) -> dict[str, int]:
    sums = {"lines": F.col("lines"), "distinct_lines": F.size("variants"), "repeated": F.col("repeated")}
    found = (F.coalesce(F.sum(value), F.lit(0)).alias(name) for name, value in sums.items())
    return observations.agg(*found, F.count("*").alias("observations")).collect()[0].asDict()


def _extra_of(stored: DataFrame | None, extra: Sequence[str]) -> list[str]:
    """The batch's extra columns, and those that only stored rows have: a row that gets another key keeps them."""
    held = [] if stored is None else stored.columns
    return [*extra, *(name for name in held if name not in (*IMPRESSIONS.column_names, *extra))]


def _with_stored_columns(observations: DataFrame, stored: DataFrame | None, extra: Sequence[str]) -> DataFrame:
    types = {} if stored is None else dict(stored.dtypes)
    others = [name for name in _extra_of(stored, extra) if name not in extra]
    return (
        observations.withColumns({name: F.lit(None).cast(types[name]) for name in others}) if others else observations
    )


def _stored_near(stored: DataFrame, dates: list[date]) -> DataFrame:
    """Stored rows that may be linked to observations of these dates: others lie more than 24 h off all of these."""
    around = sorted({day + timedelta(days=shift) for day in dates for shift in (-2, -1, 0, 1)})
    inside = _in_dates("date", around)
    long = stored.where(f"NOT ({inside}) AND span_days > 1")  # told of for days: its date says little
    return stored.where(inside).unionByName(long)


def _in_dates(column: str, dates: list[date]) -> str:
    """A condition on a partition column, written so that Delta can tell which files it needs."""
    if not dates:
        return "false"
    if len(dates) > 366:  # a log with times all over the centuries: a range is enough
        return f"{column} BETWEEN DATE '{dates[0]}' AND DATE '{dates[-1]}'"
    days = ", ".join(f"DATE '{day}'" for day in dates)
    return f"{column} IN ({days})"


def _keyed_observations(stored: DataFrame) -> DataFrame:
    return stored.transform(stored_observations).transform(with_keys)


def _touched(near: DataFrame, met: DataFrame, near_by: Callable[[DataFrame], DataFrame]) -> DataFrame:
    """Stored rows of which an observation has a shared key."""
    wanted = near_by(met.select("row.*").distinct())
    return near.join(wanted, [*_ROW_KEY], how="left_semi")


def _as_it_is(frame: DataFrame) -> DataFrame:
    return frame
