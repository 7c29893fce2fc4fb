"""Lines of metrics.jsonl: every figure follows from its parts, and a stopped and resumed run logs the same figures."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.packed import packed_directory
from tests.trainer.loop.test_session import config, train_session
from tests.trainer.loop.test_trainer import start
from trainer.encode.policies import PlannerConfig
from trainer.loop.metrics_log import RunLog
from trainer.loop.totals import Totals, age_below
from trainer.optimise.schedule import schedule

BY_THE_CLOCK = {
    "seconds",
    "data_wait_seconds",
    "data_wait_share",
    "starting_seconds",
    "evaluating_seconds",
    "saving_seconds",
    "clicks_per_second",
    "tokens_per_second",
    "computed_tokens_per_second",
    "hardware_mfu",
    "useful_mfu",
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return packed_directory(tmp_path / "packed", trajectories=48)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def timeless(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in BY_THE_CLOCK}


def test_figures_are_quotients_of_the_sums_in_the_same_line(data: Path, tmp_path: Path) -> None:
    train_session(config(tmp_path), data, tmp_path / "run")
    logged = lines(tmp_path / "run")
    assert [line["step"] for line in logged] == [4, 8, 12, 16, 18]
    for line in logged:
        assert line["tokens_per_second"] == line["tokens"] / line["seconds"]
        assert line["computed_tokens_per_second"] == line["computed_tokens"] / line["seconds"]
        assert line["padding_share"] == pytest.approx(1 - line["tokens"] / line["computed_tokens"])
        assert line["encoded_per_1000_clicks"] == 1000 * line["encoded"] / line["targets"]
        assert line["data_wait_share"] == line["data_wait_seconds"] / line["seconds"]
        assert 0 < line["useful_mfu"] < line["hardware_mfu"] < 1
        assert line["useful_mfu"] / line["hardware_mfu"] == pytest.approx(line["flops"] / line["computed_flops"])
        assert min(line["gradient_norm_encoder"], line["gradient_norm_head"]) > 0
    ages = [age for age, count in enumerate(logged[2]["looked_up_by_age"]) for _ in range(count)]
    assert logged[2]["cache_age_mean"] == pytest.approx(np.mean(ages))
    assert logged[2]["cache_age_p90"] == np.percentile(ages, 90, method="inverted_cdf")
    assert logged[-1]["learning_rate_factor"] == schedule(17, 18, 0.0)


@pytest.mark.parametrize("stop_at", [1, 6, 7])
@pytest.mark.parametrize("policy", ["cached", "accumulated"])
def test_a_run_that_was_stopped_logs_the_same_figures(data: Path, tmp_path: Path, policy: Any, stop_at: int) -> None:
    planner = PlannerConfig(policy=policy, max_age_steps=8, warm_up_steps=1, accumulate_steps=3, chunk_sizes=(16, 4))
    chosen = replace(config(tmp_path), planner=planner)
    train_session(chosen, data, tmp_path / "unbroken")
    train_session(chosen, data, tmp_path / "run", stop_at=stop_at)
    train_session(chosen, data, tmp_path / "run")
    ours, theirs = lines(tmp_path / "run"), lines(tmp_path / "unbroken")
    assert ours[0].keys() == theirs[0].keys() > BY_THE_CLOCK
    assert [timeless(line) for line in ours] == [timeless(line) for line in theirs]


def test_where_nothing_is_encoded_looked_up_or_known_figures_are_none(data: Path, tmp_path: Path) -> None:
    figures = Totals(steps=1, targets=3, seconds=2.0).figures(peak_flops=0.0)
    assert figures["clicks_per_second"] == 1.5
    nothing = {"padding_share", "cache_age_mean", "cache_age_p90", "hardware_mfu", "useful_mfu"}
    assert {name for name, figure in figures.items() if figure is None} == nothing


def test_the_age_below_which_most_look_ups_lie() -> None:
    assert age_below([0, 5, 4, 1], 0.9) == 2
    assert age_below([0, 5, 3, 2], 0.9) == 3
    assert age_below([0, 0], 0.9) is None
    assert age_below([], 0.9) is None


def test_norms_wait_for_the_logging_step_as_tensors(data: Path, tmp_path: Path) -> None:
    """A number would have to be fetched from the device, and every step would wait for it."""
    trainer = start(config(tmp_path), data)
    log = RunLog(path=tmp_path / "metrics.jsonl", every=4, total_steps=trainer.total_steps)
    kinds: list[list[type]] = []

    def look() -> bool:
        kinds.append([type(norm) for norms in log._norms.values() for norm in norms])
        return trainer.step == 5

    trainer.fit(log, after_step=look)
    assert kinds == [[torch.Tensor] * n for n in (2, 4, 6, 0, 2)]
    (line,) = lines(tmp_path)
    assert line["hardware_mfu"] is None


def test_a_run_stopped_before_its_first_line_reports_the_loss_so_far_and_keeps_no_nan(
    data: Path, tmp_path: Path
) -> None:
    train_session(config(tmp_path, log_every_steps=1), data, tmp_path / "unbroken")
    _, stopped = train_session(config(tmp_path, log_every_steps=10), data, tmp_path / "run", stop_at=3)
    logged = lines(tmp_path / "unbroken")[:3]
    targets = [line["targets"] for line in logged]
    loss = sum(line["loss"] * count for line, count in zip(logged, targets, strict=True)) / sum(targets)
    assert stopped.summary()["loss"] == pytest.approx(loss)
    state = (tmp_path / "run" / "checkpoint" / "step-00000003" / "state.json").read_text()
    assert "NaN" not in state
    assert json.loads(state)["keeping"]["log"]["last_loss"] is None
    train_session(config(tmp_path, log_every_steps=10), data, tmp_path / "run", stop_at=0)  # resumes from it


def test_a_run_without_a_step_reports_no_loss(tmp_path: Path) -> None:
    assert RunLog(tmp_path / "metrics.jsonl", every=1, total_steps=9).summary()["loss"] is None
