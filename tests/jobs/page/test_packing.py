"""The packing section: comparison with random and time order, and the contents of batches."""

from __future__ import annotations

from jobs.page.facts import Facts
from jobs.page.packing import packing


def test_as_packed_is_compared_with_random_and_time_order(facts: Facts) -> None:
    section = packing(facts)
    assert section is not None
    (orders, sizes) = section.charts
    packed = facts.parts["pack"]["distinct_items_per_epoch"]
    found = [(row[0], row[1]) for row in orders.table.rows]
    assert sorted(found) == sorted(
        [
            ("as packed (shp)", str(packed)),
            ("in time order", "314"),
            ("in random order (expected)", f"{packed / 0.8:,.0f}"),
        ]
    )
    assert "20.0% fewer than in random order (expected)" in orders.caption
    assert len(sizes.table.rows) == 12
    assert sum(int(row[1]) for row in sizes.table.rows) == packed
    assert {tile.label: tile.value for tile in section.tiles} == {
        "Uses of a news": "3.30",
        "Shared with the batch before": "58.0%",
        "Padding": "53.0%",
        "Spread": "1.11",
    }


def test_without_a_manifest_there_is_no_section(bare: Facts) -> None:
    assert packing(bare) is None
