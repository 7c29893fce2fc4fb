"""One part of the evaluation impressions chooses a checkpoint, the other evaluates; both are always the same."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from tests.packed import EVALUATION_SCHEMA, impression
from trainer.data.validation import Choice, all_of, rule_of, validation_of
from trainer.run_config import RunConfig


def table(count: int = 60, unlabelled: int = 5) -> pa.Table:
    rng = np.random.default_rng(0)
    rows = [impression(rng, number, labelled=number >= unlabelled) for number in range(count)]
    return pa.Table.from_pylist(rows, EVALUATION_SCHEMA)


def parts(evaluation: pa.Table, validate: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    _, choice = validation_of(evaluation, validate)
    chose = choice.of(evaluation)
    return evaluation.filter(pa.array(chose)).to_pylist(), evaluation.filter(pa.array(~chose)).to_pylist()


def test_users_are_on_one_side_only() -> None:
    validation, rest = parts(table(), "user:0.4")
    users = [{row["user_id"] for row in part if row["clicked"]} for part in (validation, rest)]
    assert [len(part) for part in users] == [3, 4]
    assert not users[0] & users[1]


def test_the_earliest_choose_and_the_later_evaluate() -> None:
    validation, rest = parts(table(), "time:0.5")
    labelled = [row["time"] for row in rest if row["clicked"]]
    assert max(row["time"] for row in validation) < min(labelled)
    assert 0.4 < len(validation) / 55 < 0.6


@pytest.mark.parametrize("validate", ["user:0.4", "time:0.3"])
def test_the_same_impressions_choose_whatever_their_order_and_company(validate: str) -> None:
    evaluation = table()
    shuffled = evaluation.take(pa.array(np.random.default_rng(1).permutation(len(evaluation))))
    chosen, choice = validation_of(evaluation, validate)
    assert validation_of(shuffled, validate)[1] == choice == Choice(**asdict(choice))
    assert choice.impressions == len(chosen)
    half = evaluation.slice(20)
    known = {row["impression_id"] for row in chosen.to_pylist()}
    found = half.filter(pa.array(choice.of(half))).to_pylist()
    assert {row["impression_id"] for row in found} == known & {row["impression_id"] for row in half.to_pylist()}


def test_unlabelled_impressions_choose_nothing() -> None:
    evaluation = table(unlabelled=60)
    assert not all_of(table()).of(evaluation).any()
    with pytest.raises(InputError, match=r"no evaluation impression carries click marks.*early_stop_epochs = 0"):
        validation_of(evaluation, "user:0.2")


@pytest.mark.parametrize("validate", ["user:0.9", "time:0.9"])
def test_a_part_that_takes_all_raises_an_error(validate: str) -> None:
    with pytest.raises(InputError, match=r"takes all 1 labelled impressions, and none is left to evaluate"):
        validation_of(table(6), validate)


@pytest.mark.parametrize("validate", ["", "user", "user:0", "user:1", "time:nan", "time:-1", "day:0.5", "user:a"])
def test_an_invalid_rule_raises_an_error_with_one(validate: str) -> None:
    with pytest.raises(ValueError, match=r"use time:SHARE .*user:0\.2"):
        RunConfig(validate=validate)
    assert rule_of("user:0.25") == ("user", 0.25)


@pytest.mark.parametrize("changed", [{"first": "yesterday"}, {"impressions": "9"}, {"users_up_to": 0.5}, {"rule": 1}])
def test_a_record_of_no_choice_raises_an_error(changed: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        replace(validation_of(table(), "user:0.2")[1], **changed)
