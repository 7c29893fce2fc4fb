"""Benchmark: whether a run that is killed and resumed equals an uninterrupted one. Needs what `steps` needs.

Trains three runs on random data in child processes: one to its end; the same again, which shows whether the device
computes bit-identical results; and one that is killed by SIGKILL and resumes from its newest checkpoint. As in `train`,
a thread writes the checkpoints.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast, get_args

from jobs.bench.drawn_directory import DrawnConfig
from jobs.bench.drawn_run import ModelConfig, prepared_run
from jobs.bench.plain_options import run_plain, words_of
from trainer.checkpoint.background import Background
from trainer.checkpoint.files import load_checkpoint
from trainer.checkpoint.retention import Checkpoints
from trainer.cost.flops import device_name
from trainer.encode.policies import Policy
from trainer.loop.metrics_log import RunLog
from trainer.loop.trainer import Trainer
from trainer.setup.automatic import DeviceName, device_of

_METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedConfig(ModelConfig):
    """Options of the runs."""

    trajectories: int = 2048
    """total windows of clicks"""
    items: int = 4096
    """V: number of item rows"""
    batch_trajectories: int = 64
    """trajectories of a packed batch; a step takes one batch"""
    policy: str = "cached"
    """encoding policy of the runs"""
    save_every: int = 5
    """steps between checkpoints"""
    folder: str = ""
    """train one run in this folder and keep it; empty = train all three in a temporary folder"""
    run: str = "unbroken"
    """with --folder: the name of that run, which resumes from its newest checkpoint"""

    def __post_init__(self) -> None:
        if self.policy not in get_args(Policy):
            raise ValueError(f"--policy is {self.policy!r}: use {', '.join(get_args(Policy))}")
        if self.save_every < 1 or self.trajectories // self.batch_trajectories < 2 * self.save_every + 2:
            raise ValueError(
                f"--save-every is {self.save_every}: use 1 or more, and at least {2 * self.save_every + 2} batches of "
                "--trajectories, so that a run can be killed between two checkpoints"
            )


def resumed(config: ResumedConfig, where: DeviceName) -> dict[str, Any]:
    """Compare losses and every part of the last checkpoint bit by bit, between the two uninterrupted runs and between
    one of them and the killed one."""
    if config.folder:
        return _train(config, Path(config.folder), where)
    with tempfile.TemporaryDirectory(prefix="feedloop-bench-") as folder:
        in_folder = replace(config, folder=folder)
        for name in ("unbroken", "again"):
            _wait(_start(replace(in_folder, run=name), where))
        killed = replace(in_folder, run="killed")
        kill_at = 2 * config.save_every - 1
        saved = Checkpoints(Path(folder, "killed", "checkpoint"), keep=2)
        _kill(_start(killed, where), lambda: _lines(Path(folder, "killed")) >= kill_at and bool(saved.steps()))
        finished = _wait(_start(killed, where))
        found = {
            "repeats_itself": _compare(Path(folder), "unbroken", "again"),
            "goes_on": _compare(Path(folder), "unbroken", "killed"),
        }
    for name, each in found.items():
        print(f"{name}: losses {'equal' if each['losses_equal'] else 'differ'}, parts that differ: {each['differ']}")
    device = device_name(device_of(where))
    return {"config": asdict(config), "device": device, "gone_on_from_step": finished["gone_on_from_step"], **found}


def _train(config: ResumedConfig, folder: Path, where: DeviceName) -> dict[str, Any]:
    """Train the run to its end, from its newest checkpoint if there is one."""
    drawn = DrawnConfig(
        trajectories=config.trajectories,
        items=config.items,
        batch_trajectories=config.batch_trajectories,
        live_items=config.items // 2,
        seed=config.seed,
    )
    prepared = prepared_run(folder, config, drawn, where)
    planner = replace(prepared.config.planner, policy=cast(Policy, config.policy))
    trainer = Trainer(replace(prepared, config=replace(prepared.config, planner=planner)))
    out = folder / config.run
    checkpoints = Checkpoints(out / "checkpoint", keep=2)
    log = RunLog(path=out / _METRICS, every=1, total_steps=trainer.total_steps)
    newest = checkpoints.newest()
    if newest is not None:
        saved = load_checkpoint(newest)
        trainer.restore(saved)
        log.load_state_dict(saved.state["log"])
    resumed_from, saving = trainer.step, Background("saving")

    def save_in_between() -> bool:
        if trainer.step % config.save_every == 0:
            save()
        return False

    def save() -> None:
        saving.wait()
        step, checkpoint = trainer.step, trainer.checkpoint({"log": log.state_dict()})
        saving.start(lambda: checkpoints.save(checkpoint, step=step))

    out.mkdir(exist_ok=True)
    with saving:
        trainer.fit(log, after_step=save_in_between)
        save()
    return {"gone_on_from_step": resumed_from, "steps": trainer.step}


def _start(config: ResumedConfig, where: DeviceName) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs.bench.resumed", *words_of(config, where)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def _wait(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate()
    if process.returncode != 0:
        raise ValueError(f"a run ended with exit code {process.returncode}; its messages are above")
    return dict(json.loads(printed.splitlines()[-1]))


def _kill(process: subprocess.Popen[str], due: Callable[[], bool]) -> None:
    while process.poll() is None and not due():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        raise ValueError("the run ended before it was killed: give it more --trajectories")


def _lines(out: Path) -> int:
    file = out / _METRICS
    return file.read_bytes().count(b"\n") if file.exists() else 0


def _compare(folder: Path, one: str, other: str) -> dict[str, Any]:
    """Compare the losses of every step, and the checksums of the parts of the last checkpoint."""
    losses, sums = [], []
    for name in (one, other):
        lines = (folder / name / _METRICS).read_text().splitlines()
        losses.append([(line["step"], line["loss"]) for line in map(json.loads, lines)])
        newest = Checkpoints(folder / name / "checkpoint", keep=2).newest()
        assert newest is not None, "a finished run has a checkpoint"
        sums.append(load_checkpoint(newest).state["sha256"])
    differ = sorted(part for part in sums[0] if sums[0][part] != sums[1].get(part))
    return {"losses_equal": losses[0] == losses[1], "steps": len(losses[0]), "differ": differ}


if __name__ == "__main__":
    raise SystemExit(run_plain("resumed", __doc__, ResumedConfig, resumed))
