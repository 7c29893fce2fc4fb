"""The input section: whether counts balance, reasons and rules, tokens and targets."""

from __future__ import annotations

from jobs.page.facts import Facts
from jobs.page.logs import balance, input_section
from tests.jobs.page.runs import INGEST


def test_the_sentence_states_whether_counts_balance() -> None:
    assert balance(INGEST) == "1,400 lines in = 1,200 impressions + 150 merged + 50 rejected. ✓ No line is lost."
    assert balance({**INGEST, "lines": 1401}).endswith("✗ The right side sums to 1,400.")


def test_each_end_rule_and_reason_has_its_count_and_share(facts: Facts) -> None:
    section = input_section(facts)
    assert section is not None
    rows = {chart.key: chart.table.rows for chart in section.charts}
    assert rows["ends"][1] == ("merged into one already known", "150", "10.7%")
    assert rows["rejected"] == [("not_json", "30", "60.0%"), ("bad_time", "20", "40.0%")]  # none of too_long
    assert [row[1:] for row in rows["merged"]] == [("90", "60.0%"), ("60", "40.0%")]
    assert "85.7% report a new impression" in section.charts[0].caption


def test_tokens_trajectories_and_targets_are_shown(facts: Facts) -> None:
    section = input_section(facts)
    assert section is not None
    tiles = {tile.label: (tile.value, tile.caption) for tile in section.tiles}
    counts = facts.parts["pack"]
    assert tiles["News items"] == ("3,000", "12 with the text of another, encoded as one")
    assert tiles["Tokens kept"] == ("40,000", "of 50,000 in all text, 80.0%")
    assert tiles["Clicks to predict"][0] == str(counts["targets"])
    assert tiles["Trajectories"] == ("48", f"of 47 users, {counts['clicks']} clicks in all")


def test_without_figures_there_is_no_section(bare: Facts) -> None:
    assert input_section(bare) is None
