from __future__ import annotations

import pyarrow as pa
import pytest

from trainer.eval.verdict import negatives_of


@pytest.mark.parametrize(
    ("drawn", "told"), [([True, True], "drawn"), ([False, True], "drawn"), ([False, None], "shown"), ([], "shown")]
)
def test_an_evaluation_says_whether_its_negatives_were_drawn(drawn: list[bool | None], told: str) -> None:
    assert negatives_of(pa.table({"drawn": pa.array(drawn, pa.bool_())})) == told


def test_directories_packed_before_there_were_drawn_ones_show_what_they_hold() -> None:
    assert negatives_of(pa.table({"clicked": [[True]]})) == "shown"
