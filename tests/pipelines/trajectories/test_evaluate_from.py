from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.trajectories.evaluate_from import EvaluationBegin, evaluation_begin
from schemas.errors import InputError
from tests.pipelines.trajectories.views import START

MIDNIGHT = datetime(2026, 3, 3, tzinfo=UTC)


def labelled(spark: SparkSession, hours: Sequence[float]) -> DataFrame:
    """(time, date) of labelled impressions, so many hours after START."""
    times = [(START + timedelta(hours=hour), (START + timedelta(hours=hour)).date()) for hour in hours]
    return spark.createDataFrame(times, "time timestamp, date date")


def at(spark: SparkSession, hours: Sequence[float], **options: Any) -> tuple[str, str]:
    begin = evaluation_begin(labelled(spark, hours), source="p", **options)
    return str(begin), begin.by


def test_the_last_date_with_labels_evaluates_or_what_is_asked_for(spark: SparkSession) -> None:
    found = partial(at, spark, [0, 30])
    assert found() == ("2026-03-03", "last_date")
    assert found(asked="2026-03-02") == ("2026-03-02", "evaluate_from")
    assert found(asked="2026-03-02T18:00:00+02:00") == ("2026-03-02T16:00:00Z", "evaluate_from")
    with pytest.raises(InputError, match="evaluate_from is 'tomorrow': write a UTC date or time such as"):
        found(asked="tomorrow")


def test_with_an_end_the_first_complete_date_after_it_evaluates_or_a_moment_asked_for(spark: SparkSession) -> None:
    for end, first in ((MIDNIGHT, "2026-03-03"), (MIDNIGHT + timedelta(seconds=1), "2026-03-04")):
        found = partial(at, spark, [0], end=end)
        assert found() == (first, "to")
        assert found(asked="2026-03-03T00:00:01") == ("2026-03-03T00:00:01Z", "evaluate_from")
        with pytest.raises(InputError, match=r"evaluate_from is 2026-03-02, before --to .* Leave --evaluate-from out"):
            found(asked="2026-03-02")


@pytest.mark.parametrize(
    ("hours", "options", "begins"),
    [
        ([0, 1, 2, 3, 4, 5, 6, 7, 8, 9], {}, "2026-03-02T17:00:00Z"),  # the last two of ten
        ([0, 1, 2, 3], {}, "2026-03-02T12:00:00Z"),  # at least a fifth: one of four
        ([0, 1, 1, 1, 1], {}, "2026-03-02T10:00:00Z"),  # what is of one second stays together
        ([1, 1, 1, 1, 1 + 1 / 3600], {"share": 0.9}, "2026-03-02T10:00:01Z"),  # the first second always trains
        ([0, 20, 21, 22, 30], {"share": 0.4}, "2026-03-03T07:00:00Z"),
        ([0, 20, 21, 22, 30], {"share": 0.99}, "2026-03-03"),  # from the date after the first second's
        ([-20, 0, 1, 2, 3], {"begin": START}, "2026-03-02T12:00:00Z"),  # of one date from `begin` on
    ],
)
def test_impressions_of_one_date_are_split_where_a_share_of_them_remains(
    spark: SparkSession, hours: list[float], options: dict[str, Any], begins: str
) -> None:
    assert at(spark, hours, **options) == (begins, "share")
    assert at(spark, hours[::-1], **options) == (begins, "share")


def test_fractions_of_a_second_stand_on_one_side(spark: SparkSession) -> None:
    second = 1 / 3600
    assert at(spark, [0, 1, 2 + 0.1 * second, 2 + 0.9 * second], share=0.25) == ("2026-03-02T11:00:00Z", "share")


def test_labels_of_one_second_or_none_at_all_cannot_be_split(spark: SparkSession) -> None:
    with pytest.raises(InputError, match="all impressions with click marks are of one second, 2026-03-02 09:00:00"):
        at(spark, [0, 0.1 / 3600])
    with pytest.raises(InputError, match="source 'p': no impression has click marks"):
        at(spark, [])


def test_a_moment_is_written_as_evaluate_from_takes_it() -> None:
    assert str(EvaluationBegin(MIDNIGHT, "to")) == "2026-03-03"
    assert str(EvaluationBegin(MIDNIGHT + timedelta(microseconds=5), "to")) == "2026-03-03T00:00:00.000005Z"
