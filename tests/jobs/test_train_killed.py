"""Training killed at random moments resumes bit for bit; asked to stop, it saves and says how to resume."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs.tracking.mlflow_run import EXPERIMENT, mlflow
from tests.jobs import trainings
from tests.jobs.tracking.test_curves import scalars
from tests.jobs.trainings import finished, once
from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_metrics_log import timeless
from trainer.checkpoint.retention import Checkpoints

STEPS = 96
SEEDS = [pytest.param(seed, marks=() if seed < 2 else pytest.mark.slow) for seed in range(20)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("killed")
    packed_directory(folder / "packed", trajectories=96)
    tiny_plm(folder / "plm", dropout=0.1)
    return folder


def begin(made: Path, out: str, *options: str) -> subprocess.Popen[str]:
    return trainings.begin(made, out, "--run.epochs", "4", "--run.save-every-steps", "7", *options)


def steps_logged(out: Path) -> int:
    file = out / "metrics.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def trace(out: Path) -> list[dict[str, object]]:
    """Every line without the fields that depend on the clock."""
    return [timeless(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, bytes]:
    folder = out / "checkpoint" / f"step-{STEPS:08d}"
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


@pytest.fixture(scope="module")
def reference(made: Path) -> Path:
    summary, _ = finished(begin(made, "reference"))
    assert (summary["steps"], summary["complete"], summary["gone_on_from"]) == (STEPS, True, None)
    return made / "reference"


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_anywhere_it_goes_on_to_the_bit(made: Path, reference: Path, seed: int) -> None:
    name, kill_at = f"run-{seed}", random.Random(seed).randrange(1, STEPS - 3)
    process = begin(made, name)
    once(lambda: steps_logged(made / name) >= kill_at, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    assert kill_at <= steps_logged(made / name) < STEPS
    if kill_at < 7:
        assert newest(made / name) is None
    summary = assert_resumes_to_the_bit(made, name, reference)
    for total in ("steps", "targets", "encoded", "looked_up_by_age", "computed_tokens", "flops"):
        assert summary[total] == finished_totals(reference)[total]


def assert_resumes_to_the_bit(made: Path, name: str, reference: Path) -> dict[str, Any]:
    """Resume a killed run from its newest checkpoint; returns its summary."""
    expected = newest(made / name)
    summary, _ = finished(begin(made, name, "--resume", "auto"))
    assert summary["gone_on_from"] == (None if expected is None else f"{name}/checkpoint/{expected.name}")
    assert trace(made / name) == trace(reference)
    assert weights(made / name) == weights(reference)
    return summary


def newest(out: Path) -> Path | None:
    return Checkpoints(out / "checkpoint", keep=2).newest()


@pytest.mark.parametrize("after", [7, *(pytest.param(step, marks=pytest.mark.slow) for step in (14, 28, 49, 70))])
def test_killed_while_a_checkpoint_is_written_it_goes_on_from_the_one_before(
    made: Path, reference: Path, after: int
) -> None:
    """`after`: the step whose checkpoint must be complete."""
    name = f"writing-{after}"
    process, folder = begin(made, name), made / name / "checkpoint"

    def writing() -> bool:
        return any(int(path.name[6:14]) > after for path in folder.glob(".step-*.incomplete"))

    def stopped_while_writing() -> bool:
        if not writing():
            return False
        process.send_signal(signal.SIGSTOP)
        once(lambda: all_stopped(process.pid), process)
        if writing():
            return True
        process.send_signal(signal.SIGCONT)
        return False

    once(stopped_while_writing, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, "it ended before a save was met"
    assert writing()
    assert_resumes_to_the_bit(made, name, reference)
    assert not list(folder.glob(".*"))


def all_stopped(pid: int) -> bool:
    """Whether every thread of the process is stopped."""
    return all(
        file.read_text().rpartition(")")[2].split()[0] == "T" for file in Path(f"/proc/{pid}/task").glob("*/stat")
    )


def finished_totals(out: Path) -> dict[str, object]:
    state = json.loads((out / "checkpoint" / f"step-{STEPS:08d}" / "state.json").read_text())
    return dict(state["keeping"]["log"]["totals"])


@pytest.mark.parametrize("asked", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_asked_to_stop_it_saves_and_says_how_to_go_on(made: Path, reference: Path, asked: signal.Signals) -> None:
    name = f"stopped-{asked.name}"
    process = begin(made, name)
    once(lambda: steps_logged(made / name) >= 9, process)
    process.send_signal(asked)
    summary, reported = finished(process)
    assert summary["complete"] is False
    assert f"stopped and saved after step {summary['steps']} of {STEPS}" in reported
    assert "--resume auto resumes it" in " ".join(reported.split())
    summary, _ = finished(begin(made, name, "--resume", "auto"))
    assert summary["complete"] is True
    assert trace(made / name) == trace(reference)
    assert weights(made / name) == weights(reference)


def test_trackers_report_each_step_of_a_run_once_whatever_stopped_it(made: Path, reference: Path) -> None:
    options = ("--run.mlflow", "sqlite:///mlflow.db", "--resume", "auto")
    for asked in (signal.SIGTERM, signal.SIGKILL):
        done = steps_logged(made / "tracked")
        process = begin(made, "tracked", *options)
        once(lambda done=done: steps_logged(made / "tracked") >= done + 11, process)  # type: ignore[misc]
        process.send_signal(asked)
        process.communicate(timeout=600)
        assert process.returncode == (0 if asked == signal.SIGTERM else -asked)
    finished(begin(made, "tracked", *options))
    assert trace(made / "tracked") == trace(reference)
    shown = [(line["step"], pytest.approx(line["loss"])) for line in trace(reference)]
    assert scalars(made / "tracked", "quality/loss") == shown
    store = mlflow.MlflowClient(tracking_uri=f"sqlite:///{made}/mlflow.db")
    (run,) = store.search_runs([store.get_experiment_by_name(EXPERIMENT).experiment_id])
    assert run.info.status == "FINISHED"
    assert [(point.step, point.value) for point in store.get_metric_history(run.info.run_id, "loss")] == shown


def test_another_config_is_refused_by_its_names(made: Path, reference: Path) -> None:
    process = begin(made, "reference", "--resume", "auto", "--run.seed", "9")
    reported = " ".join(process.communicate(timeout=600)[1].split())
    assert process.returncode == 2
    assert "another config: run.seed was 1 and is 9" in reported


def test_a_dry_run_reports_and_writes_nothing(made: Path, reference: Path) -> None:
    summary, reported = finished(begin(made, "dry", "--dry-run"))
    assert (summary["steps"], summary["epochs"]) == (STEPS, 4)
    assert "[run] epochs = 4" in reported
    assert not (made / "dry").exists()
