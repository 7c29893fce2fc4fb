"""Speed: the chain from one sample per click to cached vectors, in clicks per second and in encodes per epoch."""

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
    """None where neither speeds nor encodes are known."""
    measured = facts.parts.get("speed") or {}
    pace = paces(measured)
    charts = [*_waterfall(measured, pace), *_encodes(facts), *_others(measured, pace)]
    notes = list(_doubts(measured))
    if not charts and not notes:
        return None
    caption = "The same model, clicks, kernels and frozen store throughout: what differs is how often news are encoded."
    return Section(key="speed", title="Encode once", caption=caption if measured else "", charts=charts, notes=notes)


def paces(measured: Mapping[str, Any]) -> dict[str, float]:
    """Clicks per second of each policy whose ratio to the first is measurable: what the charts compare.

    By processor seconds or by the clock, as the ratios were measured.
    """
    first = measured.get(CHAIN[0], {})
    if "speed_up_by" not in first:
        return {}
    base = float(first["clicks_per_processor_second" if first["speed_up_by"] == "processor" else "clicks_per_second"])
    return {name: base * found["speed_up"] for name, found in measured.items() if found.get("speed_up") is not None}


def _doubts(measured: Mapping[str, Any]) -> Iterator[str]:
    """Notes on speeds that the measurement does not determine."""
    if measured and "speed_up_by" not in measured.get(CHAIN[0], {}):
        yield (
            "How fast each policy is was measured by an earlier feedloop, one after the other. Measure it again: "
            + AGAIN
        )
    for name, found in measured.items():
        if "speed_up_by" in found and found["speed_up"] is None:
            reach = f"from {times(found['speed_up_low'])} to {times(found['speed_up_high'])}"
            yield (
                f"How much faster {labels.policy(name)} is cannot be measured: its {integer(found['rounds'])} rounds "
                f"reach {reach}. Measure it again when the machine does less else: {AGAIN}"
            )


def _waterfall(measured: Mapping[str, Any], pace: Mapping[str, float]) -> Iterator[Chart]:
    """Each step of the chain as a bar from the speed before it to its own, on an axis of equal factors."""
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
        f"timed in turns; ratios are medians of {integer(measured[first]['rounds'])} rounds.",
        plot=bars(rows, axis=f"{unit}, logarithmic", log=True),
        table=_figures(measured, first),
    )


def _unit(measured: Mapping[str, Any]) -> str:
    by_processor = measured[CHAIN[0]]["speed_up_by"] == "processor"
    return "clicks per second of a processor" if by_processor else "clicks per second"


def _figures(measured: Mapping[str, Any], first: str) -> Table:
    """Every policy's figures, by the clock too."""
    cells = []
    for name, found in measured.items():
        reach = f"{times(found['speed_up_low'])} to {times(found['speed_up_high'])}"
        caption = "not measurable" if found["speed_up"] is None else times(found["speed_up"])
        speeds = [rate(found[key]) for key in ("clicks_per_second", "clicks_per_processor_second")]
        cells.append(
            (labels.policy(name), *speeds, caption, reach, integer(found["encoded"]), integer(found["targets"]))
        )
    columns = ("policy", "clicks/s by the clock", "per processor", f"of {first}", "rounds", "items encoded", "clicks")
    return Table(columns=columns, rows=cells)


def _others(measured: Mapping[str, Any], pace: Mapping[str, float]) -> Iterator[Chart]:
    """Policies outside the chain, if the ratio of any is measurable."""
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
        caption="GRAM's multi-step policy updates the encoder rarely; it is memory that speaks for it.",
        plot=bars(rows),
        table=Table(
            columns=("policy", _unit(measured)), rows=[(labels.policy(name), rate(own)) for name, own in found]
        ),
    )


def encodes_per_epoch(facts: Facts) -> list[tuple[str, float, str]]:
    """(how, items encoded per epoch, role) along the chain, this run at its end; empty where nothing is known."""
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
    """Clicks per second and encodes saved."""
    measured, training = facts.parts.get("speed") or {}, facts.parts.get("training")
    pace, own = paces(measured), measured.get(facts.policy, {})
    if facts.policy in pace and CHAIN[0] in pace:
        speeds = [rate(measured[name]["clicks_per_second"]) for name in (facts.policy, CHAIN[0])]
        caption = f"{speeds[0]} clicks/s by the clock ({facts.policy})\none sample per click: {speeds[1]}"
        yield Tile(label="Speed-up of training", value=times(pace[facts.policy] / pace[CHAIN[0]]), caption=caption)
    elif "speed_up_by" in own:
        reach = f"rounds from {times(own['speed_up_low'])} to {times(own['speed_up_high'])}"
        yield Tile(
            label="Speed-up of training", value="not measurable", caption=f"{reach}: the machine did other work too"
        )
    elif training:
        caption = f"in {integer(training['steps'])} steps ({facts.policy}), waiting for data included"
        yield Tile(label="Clicks per second", value=rate(training["clicks_per_second"]), caption=caption)
    pack, per_epoch = facts.parts.get("pack") or {}, _own_encodes(facts)
    if per_epoch is not None and "items_per_target_sample" in pack:
        naive = pack["items_per_target_sample"] / pack.get("variants", 1)
        caption = f"{integer(per_epoch)} per epoch\none sample per click: {integer(naive)}"
        yield Tile(label="Encodes saved", value=percent(1 - per_epoch / naive), caption=caption)
