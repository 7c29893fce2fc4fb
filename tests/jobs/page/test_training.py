"""The training section: a curve for each field that the run's lines have."""

from __future__ import annotations

from jobs.page.facts import Facts
from jobs.page.training import training


def test_each_existing_field_is_drawn_over_steps(facts: Facts) -> None:
    section = training(facts)
    assert section is not None
    charts = {chart.key: chart for chart in section.charts}
    assert set(charts) == {"over-loss", "over-clicks", "over-mfu", "over-encoded", "ages", "over-drift"}
    assert charts["over-loss"].table.rows == [("10", "1.5"), ("20", "1.2"), ("24", "1.1")]
    assert charts["over-mfu"].table.rows == [("20", "0.1", "0.2"), ("24", "0.15", "0.3")]
    assert charts["over-loss"].plot["layout"]["shapes"][0]["x0"] == 12  # start of the second epoch
    assert charts["over-encoded"].table.rows[0] == ("10", "0.6667")


def test_a_repeated_drift_is_one_measurement(facts: Facts) -> None:
    section = training(facts)
    assert section is not None
    drift = next(chart for chart in section.charts if chart.key == "over-drift")
    assert drift.table.rows == [("20", "0.2", "0.1")]


def test_ages_and_waiting_are_those_of_the_entire_run(facts: Facts) -> None:
    section = training(facts)
    assert section is not None
    ages = next(chart for chart in section.charts if chart.key == "ages")
    assert ages.table.rows == [("1", "90", "75.0%"), ("2", "30", "25.0%")]
    assert ages.caption == "1.2 steps old on average, 2 at most."
    tiles = {tile.label: tile.value for tile in section.tiles}
    assert (tiles["Waited for data"], tiles["Looked up, not encoded"]) == ("2.0%", "53.3%")


def test_what_the_run_did_between_its_steps_is_reported_apart(facts: Facts) -> None:
    section = training(facts)
    assert section is not None
    assert "Between steps" not in {tile.label for tile in section.tiles}  # an older run has not measured it
    facts.parts["training"] |= {"evaluating_seconds": 30.0, "saving_seconds": 0.5}
    section = training(facts)
    assert section is not None
    tiles = {tile.label: (tile.value, tile.caption) for tile in section.tiles}
    assert tiles["Between steps"] == ("30.5 s", "evaluating 30.0 s, saving 0.5 s")
    assert tiles["Clicks predicted"][1] == "in 1.0 s of steps"


def test_a_run_without_a_line_has_no_section(bare: Facts) -> None:
    assert training(bare) is None
