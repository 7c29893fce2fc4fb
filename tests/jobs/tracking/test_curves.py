"""Event files, read by TensorBoard's reader, have every number of every line once, also after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.tracking import curves
from jobs.tracking.curves import FOLDER, Curves
from schemas.errors import InputError


def line(step: int, **more: Any) -> dict[str, Any]:
    logged = {
        "step": step,
        "steps": 9,
        "loss": step / 4,
        "encoded": 3,
        "cache_age_mean": None,
        "looked_up_by_age": [0, 2],
    }
    return {**logged, **more}


def read(out: Path) -> EventAccumulator:
    found = EventAccumulator(str(out / FOLDER), size_guidance={"scalars": 0, "histograms": 0})
    return found.Reload()


def scalars(out: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(out).Scalars(tag)]


def test_every_number_becomes_a_point_and_ages_a_histogram(tmp_path: Path) -> None:
    shown = Curves(tmp_path, step=0)
    shown.line(line(2))
    shown.line(line(4, looked_up_by_age=[0, 0, 3, 0, 1], cache_age_mean=2.5))
    shown.evaluated(4, 0.625)
    shown.end("FINISHED")
    assert scalars(tmp_path, "quality/loss") == [(2, 0.5), (4, 1.0)]
    assert scalars(tmp_path, "sums/encoded") == [(2, 3.0), (4, 3.0)]
    assert scalars(tmp_path, "encoding/cache_age_mean") == [(4, 2.5)]
    assert scalars(tmp_path, "quality/auc") == [(4, 0.625)]
    ages = read(tmp_path).Histograms("encoding/cache_age")[-1].histogram_value
    assert (ages.min, ages.max, ages.num, ages.sum, ages.sum_squares) == (2, 4, 4, 10, 28)
    assert (ages.bucket_limit, ages.bucket) == ([2.5, 3.5, 4.5], [3, 0, 1])


def test_without_look_ups_there_is_no_histogram(tmp_path: Path) -> None:
    shown = Curves(tmp_path, step=0)
    shown.line(line(2, looked_up_by_age=[]))
    shown.end("FINISHED")
    assert read(tmp_path).Tags()["histograms"] == []


def test_points_of_a_killed_run_at_repeated_steps_are_hidden(tmp_path: Path) -> None:
    killed = Curves(tmp_path, step=0)
    for step in (2, 4, 6):
        killed.line(line(step))
    killed.evaluated(6, 0.5)  # it is not closed
    again = Curves(tmp_path, step=3)
    for step in (4, 6, 8):
        again.line(line(step))
    again.evaluated(6, 0.75)
    assert scalars(tmp_path, "quality/loss") == [(2, 0.5), (4, 1.0), (6, 1.5), (8, 2.0)]
    assert scalars(tmp_path, "quality/auc") == [(6, 0.75)]


def test_a_missing_package_is_reported_with_the_way_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    curves.check()
    monkeypatch.setattr(curves, "MISSING", ImportError("no tensorboard"))
    with pytest.raises(InputError, match=r"uv pip install -r requirements/train.txt, or add --run.no-tensorboard"):
        curves.check()
