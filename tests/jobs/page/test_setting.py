"""Seconds of stages, options that are not the default, versions, machine and tables."""

from __future__ import annotations

from jobs.page.facts import Facts
from jobs.page.setting import setting, stages
from tests.jobs.page.runs import HOSTILE


def test_the_slowest_stage_is_first_and_very_short_ones_are_only_in_the_table(facts: Facts) -> None:
    section = stages(facts)
    assert section is not None
    (chart,) = section.charts
    assert [row[0] for row in chart.table.rows] == ["training", "ingest", "a blink"]
    assert len(chart.plot["layout"]["annotations"]) == 2
    assert chart.caption == "Training took longest, 60.7% of 58.6 s in all."


def test_options_that_are_not_the_default_are_highlighted(facts: Facts) -> None:
    tables = {table.title: table for table in setting(facts).tables}
    assert tables["Options that are not the default"].rows == [
        ("run.epochs", "2", "1"),
        ("encoder.plm", HOSTILE, "minilm"),
        ("planner.max_age_steps", "2", "10"),
    ]
    assert tables["All options of run"].rows == [("epochs", "2"), ("seed", "1")]
    assert tables["All options of run"].strong == {0}


def test_versions_machine_and_tables_are_shown(facts: Facts) -> None:
    section = setting(facts)
    tables = {table.title: dict(table.rows) for table in section.tables if len(table.rows[0]) == 2}
    assert tables["Versions"] == {"git commit": "abc", "feedloop": "0.1.0", "torch": "2.10.0"}
    assert tables["Machine"] == {"trained on": "a card", "cores": "2", "memory, GiB": "24.0"}
    assert tables["Delta tables"] == {"item_tokens": "0", "raw_log": "2", "trajectories": "0"}
    assert tables["Packed directory"]["sha256 of its manifest"] == facts.manifest_sha256
    assert section.notes == []


def test_a_run_without_about_json_highlights_no_options_and_has_a_note_on_versions(bare: Facts) -> None:
    section = setting(bare)
    assert not any(table.strong or table.title.startswith("Options that") for table in section.tables)
    assert section.notes == ["The run has no about.json: the versions and machine below wrote this page."]
    assert stages(bare) is None
