"""Builds the page section on speed: from one sample per click to cached vectors, in clicks/s and encodes per epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from jobs.page import labels
from jobs.page.charts import Row, bars
from jobs.page.facts import Facts
from jobs.page.parts import Chart, Section, Table, Tile, integer, percent, rate, times

CHAIN = ("naive_per_target", "naive", "once", "cached")
AGAIN = "./feedloop bench encode_once --checkpoint CHECKPOINT --data PACKED"


def speed(facts: Facts) -> Section | None:
    """The section; None if neither speeds nor encodes are known."""
    measured = facts.parts.get("speed") or {}
    pace = policy_speeds(measured)
    charts = [*_waterfall(measured, pace), *_encodes(facts), *_other_policies(measured, pace)]
    notes = list(_notes(measured))
    if not charts and not notes:
        return None
    caption = "Model, clicks, kernels and frozen store are always the same; only the number of encodes differs."
    return Section(key="speed", title="Encode once", caption=caption if measured else "", charts=charts, notes=notes)


def policy_speeds(measured: Mapping[str, Any]) -> dict[str, float]:
    """Clicks per second of each policy whose speed-up over the first is measurable, for comparison in charts.

    By processor seconds or wall time, as the speed-ups were measured.
    """
    first = measured.get(CHAIN[0], {})
    if "speed_up_by" not in first:
        return {}
    base = float(first["clicks_per_processor_second" if first["speed_up_by"] == "processor" else "clicks_per_second"])
    return {name: base * found["speed_up"] for name, found in measured.items() if found.get("speed_up") is not None}


def _notes(measured: Mapping[str, Any]) -> Iterator[str]:
    """Notes on speeds that the measurement does not determine."""
    if measured and "speed_up_by" not in measured.get(CHAIN[0], {}):
        yield (
            "An earlier feedloop timed the policies one after the other: their speeds do not compare. Measure again: "
            + AGAIN
        )
    for name, found in measured.items():
        if "speed_up_by" in found and found["speed_up"] is None:
            reach = f"from {times(found['speed_up_low'])} to {times(found['speed_up_high'])}"
            yield (
                f"The speed-up of {labels.policy(name)} cannot be measured: its {integer(found['rounds'])} rounds "
                f"range {reach}. Measure it again while the machine is less busy: {AGAIN}"
            )


def _waterfall(measured: Mapping[str, Any], pace: Mapping[str, float]) -> Iterator[Chart]:
    """A bar for each step of the chain, from the previous speed to its own, on a logarithmic axis."""
    there = [name for name in CHAIN if name in pace]
    if len(there) < 2:
        return
    first, last = there[0], there[-1]
    rows = [
        Row(
            label=labels.POLICIES[first],
            value=pace[first] * 1.02,
            start=pace[first] / 1.02,
            caption=rate(pace[first]),
            role="rival",
        )
    ]
    for before, name in pairwise(there):
        factor = pace[name] / pace[before]
        caption = f"{times(factor)} → {rate(pace[name])}"
        role = "main" if factor >= 1 else "other"
        rows.append(Row(label=labels.POLICIES[name], value=pace[name], start=pace[before], caption=caption, role=role))
    total_factor = pace[last] / pace[first]
    rows.append(Row(label="in all", value=pace[last], start=pace[first], caption=times(total_factor), role="rival"))
    unit = _unit(measured)
    yield Chart(
        key="chain",
        title="From one sample per click to cached vectors",
        caption=f"{times(total_factor)} as many {unit}, step by step. Equal lengths are equal factors. Policies were "
        f"timed alternately; ratios are medians of {integer(measured[first]['rounds'])} rounds.",
        plot=bars(rows, axis=f"{unit}, logarithmic", log=True),
        table=_figures(measured, first),
    )


def _unit(measured: Mapping[str, Any]) -> str:
    by_processor = measured[CHAIN[0]]["speed_up_by"] == "processor"
    return "clicks per second of a processor" if by_processor else "clicks per second"


def _figures(measured: Mapping[str, Any], first: str) -> Table:
    """Every policy's figures, by wall time and by processor time."""
    cells = []
    for name, found in measured.items():
        reach = f"{times(found['speed_up_low'])} to {times(found['speed_up_high'])}"
        caption = "not measurable" if found["speed_up"] is None else times(found["speed_up"])
        speeds = [rate(found[key]) for key in ("clicks_per_second", "clicks_per_processor_second")]
        cells.append(
            (labels.policy(name), *speeds, caption, reach, integer(found["encoded"]), integer(found["targets"]))
        )
    columns = ("policy", "clicks/s by wall time", "per processor", f"of {first}", "rounds", "items encoded", "clicks")
    return Table(columns=columns, rows=cells)


def _other_policies(measured: Mapping[str, Any], pace: Mapping[str, float]) -> Iterator[Chart]:
    """A chart of policies outside the chain, if the speed-up of any is measurable."""
    others = [name for name in pace if name not in CHAIN]
    if not others:
        return
    names = [*(name for name in ("once", "cached") if name in pace), *others]
    found = sorted(((name, pace[name]) for name in names), key=lambda pair: pair[1])
    rows = [
        Row(
            label=labels.policy(name),
            value=speed,
            caption=f"{rate(speed)} clicks/s",
            role="main" if name in CHAIN else "other",
        )
        for name, speed in found
    ]
    yield Chart(
        key="policies",
        title="Other policies",
        caption="GRAM's multi-step policy updates the encoder rarely; its advantage is low memory.",
        plot=bars(rows),
        table=Table(
            columns=("policy", _unit(measured)), rows=[(labels.policy(name), rate(own)) for name, own in found]
        ),
    )


def encodes_per_epoch(facts: Facts) -> list[tuple[str, float, str]]:
    """(label, items encoded per epoch, role) along the chain, with this run last; empty if nothing is known."""
    pack = facts.parts.get("pack")
    if pack is None:
        return []
    steps = (
        ("naive_per_target", "items_per_target_sample"),
        ("naive", "item_occurrences"),
        ("once", "distinct_items_per_epoch"),
    )
    variants = pack.get("variants", 1)
    found = [(labels.POLICIES[name], pack[key] / variants, "rival") for name, key in steps if key in pack]
    own = _own_encodes(facts)
    return found if own is None else [*found, (f"in this run ({facts.policy})", own, "main")]


def _own_encodes(facts: Facts) -> float | None:
    """Items that this run encoded per epoch."""
    training = facts.parts.get("training")
    return training["encoded"] / training["epochs"] if training and training.get("epochs") else None


def _encodes(facts: Facts) -> Iterator[Chart]:
    found = encodes_per_epoch(facts)
    if not found:
        return
    most, fewest = found[0][1], found[-1][1]
    yield Chart(
        key="encodes",
        title="Items encoded per epoch",
        caption=f"{times(most / fewest)} fewer than with one sample per click.",
        plot=bars([Row(label=label, value=value, caption=integer(value), role=role) for label, value, role in found]),
        table=Table(
            columns=("how", "items encoded per epoch", "of the first"),
            rows=[(label, integer(value), percent(value / most)) for label, value, _ in found],
        ),
    )


def headline_tiles(facts: Facts) -> Iterator[Tile]:
    """Tiles with the speed-up or clicks per second, and the encodes saved."""
    measured, training = facts.parts.get("speed") or {}, facts.parts.get("training")
    pace, own = policy_speeds(measured), measured.get(facts.policy, {})
    if facts.policy in pace and CHAIN[0] in pace:
        speeds = [rate(measured[name]["clicks_per_second"]) for name in (facts.policy, CHAIN[0])]
        caption = f"{speeds[0]} clicks/s by wall time ({facts.policy})\none sample per click: {speeds[1]}"
        yield Tile(label="Speed-up of training", value=times(pace[facts.policy] / pace[CHAIN[0]]), caption=caption)
    elif "speed_up_by" in own:
        reach = f"rounds from {times(own['speed_up_low'])} to {times(own['speed_up_high'])}"
        yield Tile(
            label="Speed-up of training", value="not measurable", caption=f"{reach}: too much other work on the machine"
        )
    elif training:
        caption = f"in {integer(training['steps'])} steps ({facts.policy}), waiting for data included"
        yield Tile(label="Clicks per second", value=rate(training["clicks_per_second"]), caption=caption)
    pack, per_epoch = facts.parts.get("pack") or {}, _own_encodes(facts)
    if per_epoch is not None and "items_per_target_sample" in pack:
        naive = pack["items_per_target_sample"] / pack.get("variants", 1)
        caption = f"{integer(per_epoch)} per epoch\none sample per click: {integer(naive)}"
        yield Tile(label="Encodes saved", value=percent(1 - per_epoch / naive), caption=caption)
