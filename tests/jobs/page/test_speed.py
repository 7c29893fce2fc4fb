"""The speed section: the chain of speed-ups, whose factors multiply to the total, and the encodes of an epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jobs.page.facts import Facts
from jobs.page.speed import headline_tiles, speed


def test_the_steps_of_the_chain_multiply_to_the_total(facts: Facts) -> None:
    section = speed(facts)
    assert section is not None
    chain = section.charts[0]
    assert chain.caption.startswith("45.0 × as many clicks per second of a processor, step by step")
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
    assert {(40.0, 120.0), (120.0, 400.0), (400.0, 1800.0), (40.0, 1800.0)} <= set(
        ends
    )  # each starts at the end of the previous one
    assert len(chain.table.rows) == 5  # policies outside the chain too


def with_speed(facts: Facts, **changed: dict[str, Any]) -> Facts:
    measured = facts.parts["speed"]
    return replace(facts, parts={**facts.parts, "speed": {n: {**f, **changed.get(n, {})} for n, f in measured.items()}})


def test_a_ratio_that_cannot_be_measured_is_a_note_without_a_number(facts: Facts) -> None:
    unsure = with_speed(facts, cached={"speed_up": None, "speed_up_low": 3.0, "speed_up_high": 60.0})
    section = speed(unsure)
    assert section is not None
    (note,) = section.notes
    assert note.startswith(
        "The speed-up of vectors kept for some steps (cached) cannot be measured: its 5 rounds range"
    )
    assert "from 3.0 × to 60.0 ×. Measure it again" in note
    chain = section.charts[0]
    assert chain.caption.startswith("10.0 × as many")  # the chain as far as it is measurable
    assert ("not measurable", "3.0 × to 60.0 ×") in {row[3:5] for row in chain.table.rows}
    (tile,) = (tile for tile in headline_tiles(unsure) if tile.label == "Speed-up of training")
    assert tile.value == "not measurable"
    assert "45.0" not in tile.caption


def test_on_a_gpu_wall_time_is_compared(facts: Facts) -> None:
    section = speed(with_speed(facts, **{name: {"speed_up_by": "wall"} for name in facts.parts["speed"]}))
    assert section is not None
    assert section.charts[0].plot["layout"]["annotations"][0]["text"].endswith("60.0</b>")
    assert "of a processor" not in section.charts[0].caption


def test_speeds_that_were_not_timed_alternately_are_not_compared(facts: Facts) -> None:
    old = {name: {"clicks_per_second": 1.0, "encoded": 1, "targets": 1} for name in facts.parts["speed"]}
    found = replace(facts, parts={**facts.parts, "speed": old})
    section = speed(found)
    assert section is not None
    assert [chart.key for chart in section.charts] == ["encodes"]
    assert "An earlier feedloop" in section.notes[0]
    assert "Speed-up of training" not in {tile.label for tile in headline_tiles(found)}


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
    tiles = {tile.label: tile.value for tile in headline_tiles(facts)}
    assert tiles["Speed-up of training"] == "45.0 ×"
    assert tiles["Encodes saved"] == f"{100 * (1 - 52.5 / facts.parts['pack']['items_per_target_sample']):.1f}%"


def test_without_figures_there_is_neither_section_nor_headline(bare: Facts) -> None:
    assert speed(bare) is None
    assert list(headline_tiles(bare)) == []
