"""Builds the page section on training: loss, speed, encodes, and age and drift of looked-up vectors by step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from jobs.page.charts import Series, columns, lines
from jobs.page.facts import Facts, ages
from jobs.page.parts import DASH, Chart, Section, Table, Tile, integer, percent, plural, rate, seconds


class Curve(NamedTuple):
    """A chart over steps. `fields`: label of each line -> field of metrics.jsonl, drawn if the run has it."""

    key: str
    title: str
    axis: str
    caption: str
    fields: dict[str, str]
    from_zero: bool = True


CURVES = (
    Curve("loss", "Loss", "loss per click", "Cross-entropy over the candidates.", {"loss": "loss"}, from_zero=False),
    Curve(
        "clicks", "Clicks per second", "clicks/s", "Clicks predicted ÷ time of the steps, waiting for data included.",
        {"clicks/s": "clicks_per_second"},
    ),
    Curve(
        "tokens", "Tokens per second", "tokens/s", "Tokens of text through the encoder, and the same with padding.",
        {"of text": "tokens_per_second", "with padding": "computed_tokens_per_second"},
    ),
    Curve(
        "padding", "Padding of text", "share of tokens", "Share of the encoder's tokens that are padding.",
        {"padding": "padding_share"},
    ),
    Curve(
        "mfu", "Use of the device", "MFU", "Share of the device's peak: multiplications of text, and with padding.",
        {"useful": "useful_mfu", "with padding": "hardware_mfu"},
    ),
    Curve(
        "norms", "Norm of the gradient", "norm", "Before clipping; mean since the previous logged line.",
        {"encoder": "gradient_norm_encoder", "head": "gradient_norm_head"},
    ),
    Curve("rate", "Learning rate", "share of the peak", "Warm-up, then decay.", {"rate": "learning_rate_factor"}),
)  # fmt: skip


def training(facts: Facts) -> Section | None:
    """The section; None before the first line of metrics.jsonl."""
    if not facts.metrics:
        return None
    last = facts.metrics[-1]
    there = f" The run is at step {integer(last['step'])} of {integer(last['steps'])}."
    stopped = there if last["step"] < last["steps"] else ""
    epochs = " Dotted lines mark the start of another epoch." if last["epoch"] else ""
    so_far = f"{plural(last['epoch'] + 1, 'epoch')}, {plural(last['step'], 'step')}"
    return Section(
        key="training",
        title="Training",
        caption=f"{so_far}, policy {facts.policy}.{epochs}{stopped}",
        tiles=list(_tiles(facts)),
        charts=[*_curves(facts), *_reuse(facts), *_ages(facts), *_drift(facts)],
    )


def _tiles(facts: Facts) -> Iterator[Tile]:
    found: dict[str, Any] = facts.parts["training"]
    yield Tile(
        label="Clicks predicted", value=integer(found["targets"]), caption=f"in {seconds(found['seconds'])} of steps"
    )
    yield Tile(label="Clicks per second", value=rate(found["clicks_per_second"]), caption="mean of all steps")
    if found["seconds"]:
        caption = f"{found['data_wait_seconds']:.2f} s of {seconds(found['seconds'])}"
        yield Tile(
            label="Waited for data", value=percent(found["data_wait_seconds"] / found["seconds"]), caption=caption
        )
    between = [found.get(f"{what}_seconds", 0.0) for what in ("evaluating", "saving")]
    if any(between):
        caption = f"evaluating {seconds(between[0])}, saving {seconds(between[1])}"
        yield Tile(label="Between steps", value=seconds(sum(between)), caption=caption)
    if found["asked"]:
        caption = f"{integer(found['looked_up'])} vectors looked up, {integer(found['encoded'])} encoded"
        yield Tile(label="Looked up, not encoded", value=percent(found["looked_up"] / found["asked"]), caption=caption)


def _curves(facts: Facts) -> Iterator[Chart]:
    for curve in CURVES:
        found = {name: _points(facts.metrics, field) for name, field in curve.fields.items()}
        named = {name: points for name, points in found.items() if points}
        if named:
            yield _over_steps(curve, named, facts)


def _reuse(facts: Facts) -> Iterator[Chart]:
    points = [(line["step"], line["encoded"] / line["asked"]) for line in facts.metrics if line.get("asked")]
    if points:
        caption = "Of the items that a step asked for, the share that the encoder computed; the rest was looked up."
        curve = Curve("encoded", "Share of items encoded", "share encoded", caption, {})
        yield _over_steps(curve, {"share encoded": points}, facts)


def _ages(facts: Facts) -> Iterator[Chart]:
    found = list(enumerate(ages(facts)))[1:]
    total = sum(count for _, count in found)
    if not total:
        return
    mean = sum(age * count for age, count in found) / total
    yield Chart(
        key="ages",
        title="Age of looked-up vectors",
        caption=f"{mean:.1f} steps old on average, {found[-1][0]} at most.",
        plot=columns([age for age, _ in found], [count for _, count in found], x="age in steps", y="look-ups"),
        table=Table(
            columns=("age in steps", "look-ups", "share"),
            rows=[(str(age), integer(count), percent(count / total)) for age, count in found],
        ),
    )


def _drift(facts: Facts) -> Iterator[Chart]:
    measured = list(_measured(facts.metrics))
    looked_up, encoded = _points(measured, "drift_looked_up"), _points(measured, "drift_encoded")
    if looked_up:
        caption = (
            "Distance of stored vectors from fresh ones. Hollow points: dropout's part of it; the rest is due to age."
        )
        curve = Curve("drift", "Drift of looked-up vectors", "distance", caption, {})
        yield _over_steps(curve, {"looked up": looked_up, "encoded in this step": encoded}, facts)


def _measured(metrics: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines with a new drift. It is measured on some steps and repeated in the log until the next one."""
    before = None
    for line in metrics:
        now = (line.get("drift_looked_up"), line.get("drift_encoded"))
        if now != before:
            yield line
        before = now


def _points(metrics: list[dict[str, Any]], field: str) -> list[tuple[float, float]]:
    return [(line["step"], line[field]) for line in metrics if line.get(field) is not None]


def _over_steps(curve: Curve, named: dict[str, list[tuple[float, float]]], facts: Facts) -> Chart:
    """A chart of one or two lines over steps; the ends of epochs are marked."""
    roles = ("main", "rival")
    series = [
        Series(name=name, xs=[x for x, _ in points], ys=[y for _, y in points], role=role)
        for (name, points), role in zip(named.items(), roles, strict=False)
    ]
    at = {name: dict(points) for name, points in named.items()}
    steps = sorted({step for points in named.values() for step, _ in points})
    return Chart(
        key=f"over-{curve.key}",
        title=curve.title,
        caption=curve.caption,
        plot=lines(
            series,
            x="step",
            y=curve.axis,
            edges=_epochs(facts),
            end=facts.metrics[-1]["step"],
            from_zero=curve.from_zero,
        ),
        table=Table(
            columns=("step", *named),
            rows=[(integer(step), *(_number(at[name].get(step)) for name in named)) for step in steps],
        ),
    )


def _epochs(facts: Facts) -> list[float]:
    """Steps after which another epoch began."""
    last = facts.metrics[-1]
    per_epoch = last["steps"] / facts.config["run"]["epochs"]
    return [per_epoch * epoch for epoch in range(1, last["epoch"] + 1)]


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:,.4g}" if abs(value) < 1000 else integer(value)
