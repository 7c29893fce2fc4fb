"""Lines of metrics.jsonl: every figure follows from its parts, and a stopped and resumed run logs the same figures."""

from __future__ import annotations

import json
from collections.abc import Generator
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
from trainer.loop import metrics_log
from trainer.loop import session as session_module
from trainer.loop.metrics_log import RunLog
from trainer.loop.session import TrainingSession
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


class Clock:
    """A clock that only work moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def spend(self, seconds: float, work: Any) -> Any:
        def slower(*given: Any, **named: Any) -> Any:
            self.now += seconds
            return work(*given, **named)

        return slower


def test_speeds_are_those_of_steps_and_the_rest_is_reported_apart(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(metrics_log, "time", clock)
    (tmp_path / "run").mkdir()
    trainer = start(config(tmp_path, early_stop_epochs=9, save_every_steps=5), data)
    session = TrainingSession(trainer, tmp_path / "run", asked_to_stop=lambda: trainer.step == 15)
    monkeypatch.setattr(trainer, "restore", clock.spend(7, trainer.restore))
    monkeypatch.setattr(trainer, "take_step", clock.spend(2, trainer.take_step))
    monkeypatch.setattr(trainer, "checkpoint", clock.spend(100, trainer.checkpoint))
    monkeypatch.setattr(session_module, "model_auc", clock.spend(1000, session_module.model_auc))
    clock.now += 50  # trackers are opened
    session.fit()
    found = session.summary()
    assert found["steps"] == 15
    assert (found["seconds"], found["starting_seconds"]) == (30, 50)
    assert (found["saving_seconds"], found["evaluating_seconds"]) == (500, 2000)  # after 5, 6, 11, 12, 15; 6 and 12
    assert found["clicks_per_second"] == found["targets"] / 30
    assert found["median_step_seconds"] == 2
    logged = lines(tmp_path / "run")
    assert [line["seconds"] for line in logged] == [8, 8, 8]
    assert [line["starting_seconds"] for line in logged] == [50, 0, 0]
    assert [line["saving_seconds"] for line in logged] == [0, 200, 100]
    assert [line["evaluating_seconds"] for line in logged] == [0, 1000, 0]

    trainer = start(config(tmp_path, early_stop_epochs=9), data)
    session = TrainingSession(trainer, tmp_path / "run", asked_to_stop=lambda: trainer.step == 16)
    monkeypatch.setattr(trainer, "restore", clock.spend(7, trainer.restore))
    session.resume()
    session.fit()
    again = session.summary()
    assert (again["seconds"], again["starting_seconds"], again["evaluating_seconds"]) == (30, 57, 2000)


def test_the_device_is_waited_for_before_time_is_counted_as_another(tmp_path: Path, monkeypatch: Any) -> None:
    """Queued steps would otherwise count as saving, and nothing would wait for those before a line."""
    clock, queued = Clock(), [0.0]

    def finish(_: torch.device) -> None:
        clock.now, queued[0] = clock.now + queued[0], 0.0

    monkeypatch.setattr(metrics_log, "time", clock)
    monkeypatch.setattr(metrics_log, "synchronize", finish)
    log = RunLog(tmp_path / "metrics.jsonl", every=10, total_steps=20)
    next(log.timed(iter_of("a step")))
    clock.now += 1  # the host's part of a step
    queued[0] = 8  # the device's
    with log.spending("saving_seconds"):
        clock.now += 100
        queued[0] = 20
    assert (log.totals.starting_seconds, log.totals.seconds, log.totals.saving_seconds) == (0, 9, 120)


def iter_of(*items: Any) -> Generator[Any, None, None]:
    yield from items
