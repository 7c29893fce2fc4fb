"""The chain of speed-ups as steps that multiply, and the encodes of an epoch beside it."""

from __future__ import annotations

from jobs.page.facts import Facts
from jobs.page.speed import headline_tiles, speed


def test_the_steps_of_the_chain_multiply_to_the_whole(facts: Facts) -> None:
    section = speed(facts)
    assert section is not None
    chain = section.charts[0]
    assert chain.told.startswith("45.0 × as many clicks per second")
    words = [each["text"] for each in chain.plot["layout"]["annotations"]]
    assert [word.partition("<b>")[2] for word in words] == [
        "40.0</b>",
        "3.0 × → 120</b>",
        "3.3 × → 400</b>",
        "4.5 × → 1,800</b>",
        "45.0 ×</b>",
    ]
    ends = sorted(
        (round(base, 6), round(base + length, 6))
        for trace in chain.plot["data"]
        for base, length in zip(trace["base"], trace["x"], strict=True)
    )
    assert {(40.0, 120.0), (120.0, 400.0), (400.0, 1800.0), (40.0, 1800.0)} <= set(ends)  # each begins where one ended
    assert len(chain.table.rows) == 5  # policies beside the chain too


def test_encodes_per_epoch_end_with_this_run(facts: Facts) -> None:
    section = speed(facts)
    assert section is not None
    counts = facts.parts["pack"]
    encodes = next(chart for chart in section.charts if chart.key == "encodes")
    wanted = [
        counts["items_per_target_sample"],
        counts["item_occurrences"],
        counts["distinct_items_per_epoch"],
        105 / 2,
    ]
    assert [row[1] for row in encodes.table.rows] == [f"{count:,.0f}" for count in wanted]


def test_the_headline_is_the_policy_of_the_run(facts: Facts) -> None:
    told = {tile.label: tile.value for tile in headline_tiles(facts)}
    assert told["Speed-up of training"] == "45.0 ×"
    assert told["Encodes saved"] == f"{100 * (1 - 52.5 / facts.parts['pack']['items_per_target_sample']):.1f}%"


def test_without_any_of_it_there_is_neither_section_nor_headline(bare: Facts) -> None:
    assert speed(bare) is None
    assert list(headline_tiles(bare)) == []
