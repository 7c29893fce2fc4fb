"""The quality section: intervals, the model first, alarms; the demo's own figures have no intervals."""

from __future__ import annotations

from dataclasses import replace

from jobs.page.facts import Facts
from jobs.page.quality import alarms, headline_tiles, methods, quality
from tests.jobs.page.runs import EVALUATION, IMAGE, SUMMARY


def test_methods_have_intervals_the_model_is_first_and_the_oracle_last(facts: Facts) -> None:
    section = quality(facts)
    assert section is not None
    charts = {chart.key: chart for chart in section.charts}
    assert charts["metric-auc"].table.rows == [
        ("this model", "0.820", "0.810", "0.830"),
        ("untrained language model", "0.760", "0.750", "0.770"),
        ("popularity in training", "0.520", "0.510", "0.530"),
        ("oracle", "0.900", "0.890", "0.910"),
    ]
    assert (
        "0.060 above the best baseline (untrained language model). That is 80.0% of the way"
        in charts["metric-auc"].caption
    )
    assert section.caption.startswith(
        "On 90 impressions from 2026-03-07 to 2026-03-08, none of them trained on; 10 were"
    )
    assert section.notes == [f"Left out: 3 impressions of {IMAGE}."]


def test_a_difference_says_whether_it_distinguishes_the_two(facts: Facts) -> None:
    section = quality(facts)
    assert section is not None
    (paired,) = (chart for chart in section.charts if chart.key == "paired")
    assert [row[-1] for row in paired.table.rows] == ["better", "not distinguishable"]
    assert paired.plot["data"][0]["marker"]["symbol"] == ["circle", "diamond-open"]


def test_slices_without_a_figure_are_only_in_the_table_and_empty_ones_nowhere(facts: Facts) -> None:
    section = quality(facts)
    assert section is not None
    (slices,) = (chart for chart in section.charts if chart.key.startswith("slice-"))
    assert slices.table.rows[1] == ("6 to 20", "60", "–", "–", "–", "–", "–")
    assert slices.plot["data"][0]["x"] == [0.7]
    assert slices.plot["layout"]["annotations"][0]["text"].endswith("0.700 [0.600, 0.800] · 1 impression</b>")


def test_recall_is_shown_by_k(facts: Facts) -> None:
    section = quality(facts)
    assert section is not None
    assert section.charts[-1].table.rows == [("5", "0.020"), ("100", "0.200")]
    assert "among 1,200 news" in section.charts[-1].caption


def test_the_headline_is_auc_with_its_interval_against_zero_shot(facts: Facts) -> None:
    (tile,) = headline_tiles(facts)
    assert (tile.label, tile.value) == ("AUC", "0.820")
    assert tile.caption.split("\n") == [
        "95% interval [0.810, 0.830]",
        "untrained language model: 0.760",
        "gain +0.060 [0.050, 0.070]",
    ]


def test_the_demos_figures_have_no_intervals(facts: Facts) -> None:
    plain = replace(facts, evaluation=None)
    assert methods(plain)["model"] == SUMMARY["quality"]["model"]
    section = quality(plain)
    assert section is not None
    assert section.caption.endswith("No intervals were measured.")
    assert [chart.key for chart in section.charts] == ["metric-auc"]


def test_alarms_are_those_of_the_evaluation_or_follow_from_the_figures(facts: Facts) -> None:
    assert alarms(facts) == []
    assert alarms(replace(facts, evaluation={**EVALUATION, "alarms": ["near .5"]})) == ["near .5"]
    poor = {"quality": {"model": {"auc": 0.51}}, "training": {"complete": False}}
    assert alarms(replace(facts, evaluation=None, parts=poor)) == [
        "AUC is near .5: the model has learnt next to nothing. Train for more epochs, or at other learning rates",
        "The run was stopped before its last step: ./feedloop train resumes with --resume auto",
    ]


def test_a_figure_without_values_is_a_dash_and_no_chart(facts: Facts) -> None:
    model = {**EVALUATION["methods"]["model"], "auc": None}
    empty = replace(facts, evaluation={**EVALUATION, "methods": {**EVALUATION["methods"], "model": model}})
    section = quality(empty)
    assert section is not None
    assert "metric-auc" not in {chart.key for chart in section.charts}
    assert next(headline_tiles(empty)).value == "–"
    assert alarms(empty) == []


def test_a_model_that_was_not_evaluated_has_no_section(bare: Facts) -> None:
    assert quality(bare) is None
    assert list(headline_tiles(bare)) == []


def test_figures_against_drawn_news_are_labelled_everywhere(facts: Facts) -> None:
    split = {"evaluate_from": "2026-03-07T18:00:00Z", "first": "2026-03-07", "last": "2026-03-07"}
    drawn = replace(facts, evaluation={**EVALUATION, "split": split, "negatives": "drawn"})
    section = quality(drawn)
    assert section is not None
    assert " of 2026-03-07 from 18:00:00Z on, none of them trained on" in section.caption
    assert "ranked among news drawn from what others clicked on its day" in section.caption
    titles = [chart.title for chart in section.charts if chart.key.startswith("metric-")]
    assert titles
    assert all(title.endswith(" against drawn news") for title in titles)
    assert next(headline_tiles(drawn)).label == "AUC against drawn news"
