"""Several processes equal one: the same weights from unequal data; a run resumes with more or fewer processes."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import distributed as dist
from torch.multiprocessing.spawn import start_processes

from tests.conftest import REPOSITORY
from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_session import logged_losses
from tests.trainer.loop.test_trainer import ready
from trainer.checkpoint import files
from trainer.checkpoint.files import ResumeError
from trainer.checkpoint.retention import Checkpoints
from trainer.config import TrainConfig
from trainer.encode.policies import PlannerConfig, Policy
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.model.text_encoder import TextEncoderConfig
from trainer.optimise.optimiser import OptimiserConfig
from trainer.ranks.process_group import Ranks
from trainer.run_config import RunConfig

EPOCH_STEPS = 5  # of 3, 3, 3, 3 and 1 batches: two ranks hold 2 and 1, and at last 1 and none


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packed_directory(tmp_path_factory.mktemp("ranks") / "packed", trajectories=52)


@pytest.fixture(scope="module")
def config(data: Path) -> TrainConfig:
    plm = tiny_plm(data.parent / "plm", dropout=0.0)
    return TrainConfig(
        run=RunConfig(epochs=2, batches_per_step=3, log_every_steps=2, reader="arrow", plan_ahead=2),
        encoder=TextEncoderConfig(plm=plm, frozen_layers=0, vector_width=8, pooling_width=8),
        planner=PlannerConfig(policy="once", chunk_sizes=(16, 4)),
        optimiser=OptimiserConfig(encoder_learning_rate=1e-2, learning_rate=1e-2),
    )


def with_policy(config: TrainConfig, policy: Policy) -> TrainConfig:
    return replace(config, planner=replace(config.planner, policy=policy, max_age_steps=3, warm_up_steps=1))


def train(config: TrainConfig, data: Path, out: Path, ranks: Ranks, stop_at: int | None) -> None:
    """Train what is left of the run in `out`, in float64, up to `stop_at`."""
    torch.set_num_threads(1)
    prepared = ready(config, data)
    prepared.model.double()
    trainer = Trainer(prepared, ranks)
    session = TrainingSession(
        trainer, out, asked_to_stop=lambda: ranks.rank == ranks.world - 1 and trainer.step == stop_at
    )
    session.resume()
    session.fit()
    session.summary()


def _rank(rank: int, world: int, folder: str, *rest: object) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    config, data, out, stop_at = rest
    train(config, data, out, Ranks(rank, world), stop_at)  # type: ignore[arg-type]
    dist.destroy_process_group()


def run(config: TrainConfig, data: Path, out: Path, *, world: int, stop_at: int | None = None) -> Path:
    out.mkdir(exist_ok=True)
    if world == 1:
        train(config, data, out, Ranks(), stop_at)
        return out
    (out / "meeting").unlink(missing_ok=True)
    start_processes(_rank, args=(world, str(out), config, data, out, stop_at), nprocs=world, start_method="spawn")
    return out


def weights(out: Path) -> dict[str, torch.Tensor]:
    newest = Checkpoints(out / "checkpoint", keep=1).newest()
    assert newest is not None
    return load_file(newest / "model.safetensors")


def furthest(left: Path, right: Path) -> float:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


@pytest.fixture(scope="module")
def alone(config: TrainConfig, data: Path) -> Path:
    return run(config, data, data.parent / "alone", world=1)


def test_two_ranks_with_unequal_data_are_one_process(config: TrainConfig, data: Path, alone: Path) -> None:
    two = run(config, data, data.parent / "two", world=2)
    assert furthest(alone, two) < 1e-12
    assert [step for step, _ in logged_losses(two)] == [step for step, _ in logged_losses(alone)]
    assert [loss for _, loss in logged_losses(two)] == pytest.approx(
        [loss for _, loss in logged_losses(alone)], abs=1e-12
    )
    ours, theirs = (json.loads((out / "metrics.jsonl").read_text().splitlines()[-1]) for out in (alone, two))
    assert ours["targets"] == theirs["targets"] > 0
    assert 0 < ours["tokens"] <= theirs["tokens"] < theirs["computed_tokens"]  # two encode an item that both hold
    for name in ("learning_rate_factor", "gradient_norm_encoder", "gradient_norm_head"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-9)


@pytest.mark.parametrize("streams", [1, 2])
def test_a_run_resumes_with_more_and_with_fewer_ranks(
    config: TrainConfig, data: Path, alone: Path, streams: int
) -> None:
    chosen = replace(config, run=replace(config.run, streams=streams))
    unbroken = alone if streams == 1 else run(chosen, data, data.parent / "alone-2", world=1)
    out = data.parent / f"changing-{streams}"
    run(chosen, data, out, world=1, stop_at=3)
    run(chosen, data, out, world=2, stop_at=7)
    run(chosen, data, out, world=1)
    assert furthest(unbroken, out) < 1e-10
    assert [loss for _, loss in logged_losses(out)] == pytest.approx(
        [loss for _, loss in logged_losses(unbroken)], abs=1e-10
    )


@pytest.mark.parametrize(("policy", "streams"), [("once", 1), ("cached", 2)])
def test_ranks_that_share_encoding_are_one_process_and_encode_no_item_twice(
    config: TrainConfig, data: Path, policy: Policy, streams: int
) -> None:
    chosen = with_policy(replace(config, run=replace(config.run, streams=streams)), policy)
    shared = replace(chosen, planner=replace(chosen.planner, share_encoding=True))
    one = run(shared, data, data.parent / f"{policy}-one", world=1)
    two = run(shared, data, data.parent / f"{policy}-shared", world=2)
    assert furthest(one, two) < 1e-12
    apart = run(chosen, data, data.parent / f"{policy}-apart", world=2)
    totals = [
        sum(json.loads(line)["encoded"] for line in (out / "metrics.jsonl").read_text().splitlines())
        for out in (one, two, apart)
    ]
    assert totals[0] == totals[1] < totals[2]


@pytest.mark.parametrize("policy", ["cached", "accumulated"])
def test_two_ranks_stopped_resume_as_if_they_had_not_been(config: TrainConfig, data: Path, policy: Policy) -> None:
    chosen = with_policy(config, policy)
    unbroken = run(chosen, data, data.parent / f"{policy}-unbroken", world=2)
    out = data.parent / f"{policy}-stopped"
    run(chosen, data, out, world=2, stop_at=6)
    run(chosen, data, out, world=2)
    assert furthest(unbroken, out) == 0
    assert logged_losses(unbroken) == logged_losses(out)


def test_a_cache_is_taken_over_by_other_ranks_and_waiting_gradients_are_not(config: TrainConfig, data: Path) -> None:
    cached = with_policy(config, "cached")
    out = data.parent / "cached-changing"
    run(cached, data, out, world=2, stop_at=4)
    trainer = Trainer(ready(cached, data))
    TrainingSession(trainer, out).resume()
    parts = Checkpoints(out / "checkpoint", keep=1).newest()
    assert parts is not None
    tables = [load_file(parts / f"table-{rank}.safetensors") for rank in range(2)]
    freshest: dict[int, tuple[int, torch.Tensor]] = {}
    for table in reversed(tables):  # of equally fresh ones the first rank's
        for row, step, vector in zip(*(table[name] for name in ("row_R", "last_encode_R", "vector_RD")), strict=True):
            if int(step) >= freshest.get(int(row), (0, vector))[0]:
                freshest[int(row)] = (int(step), vector.float())
    expected = torch.zeros_like(trainer.table.vector_VD)
    for row, (_, vector) in freshest.items():
        expected[row] = vector
    assert torch.equal(trainer.table.vector_VD, expected)
    assert tables[0]["row_R"].tolist() != tables[1]["row_R"].tolist()
    out = data.parent / "accumulated-changing"
    accumulated = with_policy(config, "accumulated")
    run(accumulated, data, out, world=2, stop_at=2)
    with pytest.raises(ResumeError, match=r"of 2 processes, these are 1.*resume with 2"):
        TrainingSession(Trainer(ready(accumulated, data)), out).resume()


def _rank_with_a_full_disk(rank: int, world: int, *rest: object) -> None:
    write = files.write_part

    def refusing(folder: Path, part: str, tensors: Any) -> None:
        if part == f"table-{world - 1}":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(folder, part, tensors)

    files.write_part = refusing
    _rank(rank, world, *rest)  # type: ignore[arg-type]


def test_a_rank_that_cannot_save_ends_all_and_leaves_no_checkpoint(config: TrainConfig, data: Path) -> None:
    """Also those whose saving threads wait for that of the rank."""
    out = data.parent / "full"
    out.mkdir()
    given = (2, str(out), config, data, out, None)
    started = start_processes(_rank_with_a_full_disk, args=given, nprocs=2, start_method="spawn", join=False)
    for process in started.processes:
        process.join(300)
    assert [process.exitcode for process in started.processes] == [1, 1]
    errors = [pickle.loads(Path(file).read_bytes()) for file in started.error_files]
    assert "RankLostError: another process of this run is gone" in errors[0]
    assert re.search(r"NoSpaceError: .*step-00000005: no space left there", errors[1])
    assert Checkpoints(out / "checkpoint", keep=1).newest() is None


def torchrun(data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    job = ["jobs.train", "--data", str(data), "--out", str(out), "--encoder.plm", str(data.parent / "plm")]
    run = ["--encoder.frozen-layers", "1", "--run.batches-per-step", "2", "--run.log-every-steps", "1", *options]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *job, *run], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_torchrun_trains_and_prints_once(data: Path, alone: Path) -> None:
    process = torchrun(data, data.parent / "torchrun")
    printed, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    (summary,) = (json.loads(line) for line in printed.splitlines() if line.startswith("{"))
    assert summary["complete"]
    assert summary["steps"] == 7
    assert json.loads((data.parent / "torchrun" / "config.json").read_text())["run"]["streams"] == 2
    assert errors.count("done training") == 1


def test_a_rank_that_is_killed_ends_the_job_with_the_reason(data: Path, alone: Path) -> None:
    out = data.parent / "lost"
    process = torchrun(data, out, "--run.epochs", "400")
    file = out / "metrics.jsonl"
    while not (file.exists() and file.stat().st_size) and process.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ranks = [pid for pid in children if "jobs.train" in Path(f"/proc/{pid}/cmdline").read_text()]
    os.kill(int(ranks[-1]), signal.SIGKILL)
    _, errors = process.communicate(timeout=180)
    assert process.returncode != 0
    assert "another process of this run is gone" in " ".join(errors.split())
