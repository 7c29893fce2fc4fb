"""Number formats, and the layout of charts in two columns."""

from __future__ import annotations

from typing import Literal

import pytest

from jobs.page.parts import Chart, Table, arranged, integer, interval, plural, rate, score, seconds, signed, times

Shape = Literal["", "wide", "tall"]


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (integer(12131.4), "12,131"),
        (integer(-5), "−5"),
        (rate(1826.2), "1,826"),
        (rate(41.73), "41.7"),
        (times(43.76), "43.8 ×"),
        (times(1.031), "1.03 ×"),
        (score(0.8204), "0.820"),
        (score(None), "–"),
        (signed(-0.0561), "−0.056"),
        (signed(0.0561), "+0.056"),
        (seconds(35.62), "35.6 s"),
        (seconds(158), "2 min 38 s"),
        (interval(-0.01, 0.02), "[−0.010, 0.020]"),
        (interval(None, 0.02), ""),
        (plural(1, "batch"), "1 batch"),
        (plural(31, "batch"), "31 batches"),
    ],
)
def test_numbers_are_formatted(shown: str, wanted: str) -> None:
    assert shown == wanted


def chart(shape: Shape) -> Chart:
    return Chart(key="k", title="t", caption="", plot={}, table=Table(columns=(), rows=()), shape=shape)


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ([""], ["wide"]),
        (["", ""], ["", ""]),
        (["", "", ""], ["", "", "wide"]),
        (["", "wide", "", ""], ["wide", "wide", "", ""]),
        (["", "tall", ""], ["", "tall", ""]),  # the third is below the first, next to the tall one
    ],
)
def test_no_chart_is_alone_in_its_row(shapes: list[Shape], wanted: list[Shape]) -> None:
    assert [each.shape for each in arranged([chart(shape) for shape in shapes])] == wanted
