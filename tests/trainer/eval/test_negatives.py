from __future__ import annotations

import pyarrow as pa
import pytest

from trainer.eval.verdict import negatives_of


@pytest.mark.parametrize(
    ("drawn", "expected"), [([True, True], "drawn"), ([False, True], "drawn"), ([False, None], "shown"), ([], "shown")]
)
def test_an_evaluation_says_whether_its_negatives_were_drawn(drawn: list[bool | None], expected: str) -> None:
    assert negatives_of(pa.table({"drawn": pa.array(drawn, pa.bool_())})) == expected


def test_directories_packed_before_there_were_drawn_ones_have_shown_negatives() -> None:
    assert negatives_of(pa.table({"clicked": [[True]]})) == "shown"
