"""Speed: the chain from one sample per click to cached vectors, in clicks per second and in encodes per epoch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from jobs.page import labels
from jobs.page.charts import Row, bars
from jobs.page.facts import Facts
from jobs.page.parts import Chart, Section, Table, Tile, percent, rate, times, whole

CHAIN = ("naive_per_target", "naive", "once", "cached")


def speed(facts: Facts) -> Section | None:
    """None where neither speeds nor encodes are known."""
    measured = facts.parts.get("speed")
    charts = [*([_waterfall(measured)] if measured else []), *_encodes(facts), *(_others(measured) if measured else [])]
    if not charts:
        return None
    told = "The same model, clicks, kernels and frozen store throughout: what differs is how often news are encoded."
    return Section(key="speed", title="Encode once", told=told if measured else "", charts=charts)


def _waterfall(measured: dict[str, Any]) -> Chart:
    """Each step of the chain as a bar from the speed before it to its own, on an axis of equal factors."""
    there = [name for name in CHAIN if name in measured]
    pace = {name: float(measured[name]["clicks_per_second"]) for name in there}
    first, last = there[0], there[-1]
    rows = [
        Row(
            label=labels.POLICIES[first],
            value=pace[first] * 1.02,
            start=pace[first] / 1.02,
            told=rate(pace[first]),
            role="rival",
        )
    ]
    for before, name in pairwise(there):
        factor = pace[name] / pace[before]
        told = f"{times(factor)} → {rate(pace[name])}"
        role = "main" if factor >= 1 else "other"
        rows.append(Row(label=labels.POLICIES[name], value=pace[name], start=pace[before], told=told, role=role))
    whole_way = pace[last] / pace[first]
    rows.append(Row(label="in all", value=pace[last], start=pace[first], told=times(whole_way), role="rival"))
    cells = [
        (labels.policy(name), rate(pace[name]), times(pace[name] / pace[first]), whole(measured[name]["encoded"]),
         whole(measured[name]["targets"]))
        for name in measured if (pace.setdefault(name, float(measured[name]["clicks_per_second"])))
    ]  # fmt: skip
    return Chart(
        key="chain",
        title="From one sample per click to cached vectors",
        told=f"{times(whole_way)} as many clicks per second, step by step. Equal lengths are equal factors.",
        plot=bars(rows, axis="clicks per second, logarithmic", log=True),
        table=Table(columns=("policy", "clicks/s", f"of {first}", "items encoded", "clicks timed"), rows=cells),
    )


def _others(measured: dict[str, Any]) -> Iterator[Chart]:
    """Policies beside the chain, if any was timed."""
    others = [name for name in measured if name not in CHAIN]
    if not others:
        return
    names = [*(name for name in ("once", "cached") if name in measured), *others]
    found = sorted(((name, float(measured[name]["clicks_per_second"])) for name in names), key=lambda pair: pair[1])
    rows = [
        Row(
            label=labels.policy(name),
            value=pace,
            told=f"{rate(pace)} clicks/s",
            role="main" if name in CHAIN else "other",
        )
        for name, pace in found
    ]
    yield Chart(
        key="policies",
        title="Other policies beside it",
        told="GRAM's multi-step policy updates the encoder rarely; it is memory that speaks for it.",
        plot=bars(rows),
        table=Table(columns=("policy", "clicks/s"), rows=[(labels.policy(name), rate(pace)) for name, pace in found]),
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
        told=f"{times(most / fewest)} fewer than with one sample per click.",
        plot=bars([Row(label=label, value=value, told=whole(value), role=role) for label, value, role in found]),
        table=Table(
            columns=("how", "items encoded per epoch", "of the first"),
            rows=[(label, whole(value), percent(value / most)) for label, value, _ in found],
        ),
    )


def headline_tiles(facts: Facts) -> Iterator[Tile]:
    """Clicks per second and encodes saved."""
    measured, training = facts.parts.get("speed"), facts.parts.get("training")
    if measured and facts.policy in measured and "naive_per_target" in measured:
        own, base = (float(measured[name]["clicks_per_second"]) for name in (facts.policy, "naive_per_target"))
        told = f"{rate(own)} clicks/s ({facts.policy})\none sample per click: {rate(base)}"
        yield Tile(label="Speed-up of training", value=times(own / base), told=told)
    elif training:
        told = f"in {whole(training['steps'])} steps ({facts.policy}), waiting for data included"
        yield Tile(label="Clicks per second", value=rate(training["clicks_per_second"]), told=told)
    pack, per_epoch = facts.parts.get("pack") or {}, _own_encodes(facts)
    if per_epoch is not None and "items_per_target_sample" in pack:
        naive = pack["items_per_target_sample"] / pack.get("variants", 1)
        told = f"{whole(per_epoch)} per epoch\none sample per click: {whole(naive)}"
        yield Tile(label="Encodes saved", value=percent(1 - per_epoch / naive), told=told)
