"""The screen's lines about a split, and about figures against sampled news."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.demo_screen import split_lines
from jobs.cli.evaluation import paired_line, quality_table, write_predictions

FIGURES = {name: 0.5 for name in ("auc", "mrr", "ndcg5", "ndcg10")}
SUMMARY: dict[str, Any] = {
    "split": {"evaluate_from": "2026-03-02T18:00:05Z", "first": "2026-03-02", "last": "2026-03-02"},
    "impressions": 20,
    "skipped": 0,
    "methods": {"model": {**FIGURES, "low": FIGURES, "high": FIGURES}},
    "paired": {"zero_shot": {"auc": {"mean": 0.1, "low": 0.0, "high": 0.2}}},
}


def test_figures_against_drawn_news_are_named_as_such() -> None:
    title = str(quality_table({**SUMMARY, "negatives": "drawn"}).title)
    assert "20 impressions of 2026-03-02 from 18:00:05Z on" in title
    assert (
        "against drawn news: each click is ranked among others of its day, not among what its user was shown" in title
    )
    assert paired_line({**SUMMARY, "negatives": "drawn"}).startswith("AUC against drawn news less zero-shot's: +0.100")


@pytest.mark.parametrize("summary", [SUMMARY, {**SUMMARY, "negatives": "shown"}])
def test_figures_over_impressions_need_no_word(summary: dict[str, Any]) -> None:
    assert "drawn" not in str(quality_table(summary).title) + paired_line(summary)


def test_the_screen_names_the_split() -> None:
    made = {"evaluate_from": "2026-03-07", "split_by": "last_date", "negatives": "shown"}
    assert split_lines({"trajectories": made}) == [
        "[bold]Split[/bold]    impressions before 2026-03-07 train, those from then on evaluate "
        "(the last date with click marks)"
    ]
    share = {"evaluate_from": "2026-03-07T18:00:05Z", "split_by": "share", "evaluate_share": 0.2, "negatives": "drawn"}
    first, second = split_lines({"trajectories": share})
    assert "before 2026-03-07 18:00:05 UTC train" in first
    assert "the latest 20%, for all are of one date" in first
    assert "drawn from each day's clicks" in second


def test_predictions_are_packed_as_mind_and_eb_nerd_take_them(tmp_path: Path) -> None:
    file = tmp_path / "new" / "mine.txt"
    write_predictions(file, iter(["1 [2,1]", "0 [1]"]))
    assert file.read_text() == "1 [2,1]\n0 [1]\n"
    for name, inside in (("mine.zip", "prediction.txt"), ("mine.ebnerd.zip", "predictions.txt")):
        with zipfile.ZipFile(file.with_name(name)) as packed:
            assert packed.namelist() == [inside]
            assert packed.read(inside).decode() == file.read_text()
