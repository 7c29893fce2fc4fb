"""Builds the page section on quality: ranking of unseen impressions by model and baselines, intervals and slices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from jobs.page import labels
from jobs.page.charts import Row, columns, dots
from jobs.page.facts import Facts
from jobs.page.parts import MINUS, Chart, Section, Table, Tile, integer, interval, percent, plural, score, signed

_ROLES = {"model": "main", "oracle": "other"}
_FIRST, _LAST = ("model", "zero_shot", "popularity"), "oracle"


def quality(facts: Facts) -> Section | None:
    """The section; None if the model was not evaluated."""
    found = methods(facts)
    if not found:
        return None
    evaluation = facts.evaluation or {}
    drawn = _drawn_suffix(facts)
    charts = [_of_metric(name, found, drawn) for name in labels.METRICS if found["model"].get(name) is not None]
    if evaluation.get("paired"):
        charts += _paired(evaluation["paired"])
    charts += [
        _slices(name, rows, found["model"].get("auc")) for name, rows in evaluation.get("slices", {}).items() if rows
    ]
    if evaluation.get("recall"):
        charts.append(_recall(evaluation["recall"]))
    return Section(
        key="quality",
        title="Quality",
        caption=_impressions_caption(facts, found),
        charts=charts,
        notes=[f"Left out: {sentence}" for sentence in evaluation.get("left_out", [])],
    )


def methods(facts: Facts) -> dict[str, Mapping[str, Any]]:
    """Figures of each method, model first, oracle last. Without an evaluation, those of the demo, without intervals."""
    evaluation = facts.evaluation or facts.parts.get("quality") or {}
    found = evaluation.get("methods", evaluation)
    names = [*(name for name in _FIRST if name in found), *sorted(set(found) - {*_FIRST, _LAST}), _LAST]
    return {name: found[name] for name in names if name in found} if "model" in found else {}


def bounds(figures: Mapping[str, Any], metric: str) -> tuple[float | None, float | None]:
    """The interval of a method's metric, if it was measured."""
    return (figures.get("low") or {}).get(metric), (figures.get("high") or {}).get(metric)


def headline_tiles(facts: Facts) -> Iterator[Tile]:
    """The model's AUC with its interval, compared with the untrained language model."""
    found = methods(facts)
    if not found:
        return
    own = interval(*bounds(found["model"], "auc"))
    messages = [f"95% interval {own}" if own else "no interval was measured"]
    if "zero_shot" in found:
        messages.append(f"untrained language model: {score(found['zero_shot']['auc'])}")
    difference = ((facts.evaluation or {}).get("paired") or {}).get("zero_shot", {}).get("auc")
    if difference:
        messages.append(f"gain {signed(difference['mean'])} {interval(difference['low'], difference['high'])}")
    yield Tile(label=f"AUC{_drawn_suffix(facts)}", value=score(found["model"].get("auc")), caption="\n".join(messages))


def alarms(facts: Facts) -> list[str]:
    """Alarms of the evaluation; without any, those that follow from the figures."""
    messages = [str(alarm) for alarm in (facts.evaluation or {}).get("alarms", [])]
    auc = methods(facts).get("model", {}).get("auc")
    if not messages and auc is not None and abs(auc - 0.5) < 0.02:
        messages.append(
            "AUC is near .5: the model has learnt next to nothing. Train for more epochs, or at other learning rates"
        )
    if facts.parts.get("training", {}).get("complete") is False:
        messages.append("The run was stopped before its last step: ./feedloop train resumes with --resume auto")
    return messages


def _impressions_caption(facts: Facts, found: Mapping[str, Mapping[str, Any]]) -> str:
    evaluation = facts.evaluation or {}
    count = evaluation.get("impressions", found["model"].get("impressions"))
    skipped = evaluation.get("skipped", found["model"].get("skipped", 0))
    split = evaluation.get("split") or {}
    days = f" from {split['first']} to {split['last']}" if split.get("first") else ""
    days = f" of {split['first']}" if days and split["first"] == split["last"] else days
    _, inside_a_day, clock = str(split.get("evaluate_from")).partition("T")
    days += f" from {clock} on" if inside_a_day else ""
    sentence = (
        f"On {plural(count, 'impression')}{days}, none of them trained on"
        if count
        else "On impressions never trained on"
    )
    if skipped:
        sentence += f"; {integer(skipped)} were skipped, because all or none of their news were clicked"
    if _drawn_suffix(facts):
        sentence += (
            ". The log does not record what else was shown: each click is ranked among news drawn from what others "
            "clicked on its day, so these figures are only comparable with each other"
        )
    shown = any(bounds(figures, "auc")[0] is not None for figures in found.values())
    return f"{sentence}. " + ("Bars are 95% intervals." if shown else "No intervals were measured.")


def _drawn_suffix(facts: Facts) -> str:
    """Suffix of a metric's name if clicks were ranked among drawn news; else empty."""
    evaluation = facts.evaluation or facts.parts.get("quality") or {}
    return " against drawn news" if evaluation.get("negatives") == "drawn" else ""


def _of_metric(metric: str, found: Mapping[str, Mapping[str, Any]], drawn: str) -> Chart:
    rows, cells = [], []
    for name, figures in found.items():
        if figures.get(metric) is None:
            continue
        low, high = bounds(figures, metric)
        caption = f"{score(figures[metric])} {interval(low, high)}".strip()
        role = _ROLES.get(name, "rival")
        rows.append(
            Row(label=labels.method(name), value=figures[metric], caption=caption, low=low, high=high, role=role)
        )
        cells.append((labels.method(name), score(figures[metric]), score(low), score(high)))
    title = f"{labels.METRICS[metric]}{drawn}"
    return Chart(
        key=f"metric-{metric}",
        title=title,
        caption=_comparison(metric, found),
        plot=dots(rows, axis=title, reference=(0.5, "chance") if metric == "auc" else None),
        table=Table(columns=("method", title, "low", "high"), rows=cells),
    )


def _comparison(metric: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    own, best = found["model"][metric], None
    rivals = {
        name: figures[metric]
        for name, figures in found.items()
        if name not in {"model", "oracle"} and figures.get(metric) is not None
    }
    if not rivals:
        return "Higher is better."
    best = max(rivals, key=lambda name: float(rivals[name]))
    words = "above" if own > rivals[best] else "below"
    caption = f"{abs(own - rivals[best]):.3f} {words} the best baseline ({labels.method(best)})."
    oracle = found.get("oracle", {}).get(metric)
    if oracle is not None and metric == "auc" and oracle > 0.5:
        caption += f" That is {percent((own - 0.5) / (oracle - 0.5))} of the way from chance to the oracle."
    return caption


def _paired(paired: Mapping[str, Mapping[str, Any]]) -> Iterator[Chart]:
    """A chart of the model minus each baseline, impression by impression."""
    rows, cells = [], []
    for baseline, metrics in paired.items():
        for metric, found in metrics.items():
            if metric not in labels.METRICS or found["mean"] is None:
                continue
            label = f"{labels.METRICS[metric]} {MINUS} {labels.method(baseline)}"
            caption = f"{signed(found['mean'])} {interval(found['low'], found['high'])}"
            sure = found["low"] is not None and (found["low"] > 0 or found["high"] < 0)
            role = "main" if sure and found["mean"] > 0 else "rival" if not sure else "other"
            rows.append(
                Row(label=label, value=found["mean"], caption=caption, low=found["low"], high=found["high"], role=role)
            )
            verdict = "better" if sure and found["mean"] > 0 else "worse" if sure else "not distinguishable"
            cells.append((label, signed(found["mean"]), signed(found["low"]), signed(found["high"]), verdict))
    if rows:
        yield Chart(
            key="paired",
            title="This model minus each other method, impression by impression",
            caption="An interval without 0 distinguishes the two methods; hollow points do not.",
            plot=dots(rows, axis="difference", reference=(0.0, "no difference")),
            table=Table(columns=("", "difference", "low", "high", "verdict"), rows=cells),
            shape="wide",
        )


def _slices(name: str, slices: list[dict[str, Any]], overall: float | None) -> Chart:
    rows, cells = [], []
    for one in slices:
        count = plural(one["impressions"], "impression")
        cells.append(
            (
                str(one["slice"]),
                integer(one["impressions"]),
                *(score(one.get(key)) for key in ("auc", "auc_low", "auc_high", "mrr", "ndcg10")),
            )
        )
        if one.get("auc") is None:
            continue
        low, high = one.get("auc_low"), one.get("auc_high")
        caption = f"{score(one['auc'])} {interval(low, high)} · {count}"
        rows.append(Row(label=str(one["slice"]), value=one["auc"], caption=caption, low=low, high=high))
    return Chart(
        key="slice-" + "".join(letter if letter.isalnum() else "-" for letter in name),
        title=labels.SLICES.get(name, f"AUC by {name}"),
        caption=f"The dotted line is the AUC of all impressions, {score(overall)}.",
        plot=dots(rows, axis="AUC", reference=None if overall is None else (overall, "all")),
        table=Table(columns=(name, "impressions", "AUC", "low", "high", "MRR", "nDCG@10"), rows=cells),
    )


def _recall(recall: Mapping[str, Any]) -> Chart:
    at = [(str(k), value) for k, value in recall["at"].items() if value is not None]
    pool = recall.get("pool")
    where = f" among {integer(pool)} news" if isinstance(pool, int | float) else f" among {pool}" if pool else ""
    return Chart(
        key="recall",
        title="Recall of the clicked news",
        caption=f"How often the clicked news is among the k nearest{where}, by exact search.",
        plot=columns([k for k, _ in at], [value for _, value in at], x="k", y="recall@k"),
        table=Table(columns=("k", "recall@k"), rows=[(k, score(value)) for k, value in at]),
    )
