"""The torch half of the demo, in a process of its own without Spark: train, evaluate, measure the policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs.bench.encode_once import ALL, encode_once
from jobs.cli.command_line import run
from jobs.cli.progress import quiet, seconds_of_stages, stage
from jobs.evaluate import evaluate
from jobs.page.contracts import Example
from jobs.page.reading import json_file, name_exists
from jobs.train import train
from schemas.storage.place import Place
from trainer.config import TrainConfig
from trainer.data.description import describe
from trainer.data.directory import PackedDirectory, ReadConfig

SHOWN = tuple(policy for policy in ALL if policy != "carried")  # which is no faster than cached


def demo_trainer(
    *,
    data: Place,
    out: Path,
    config: TrainConfig = TrainConfig(),  # noqa: B008 - frozen
    lake: Path | None = None,
    truth: Path | None = None,
    speed_rounds: int = 5,
    read: ReadConfig = ReadConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Verify a packed directory, train on it, evaluate the checkpoint, measure every policy: the demo's torch half.

    Parameters
    ----------
    data
        The packed directory.
    out
        Folder for the run.
    config
        The run, in parts: run, encoder, user, planner, optimiser.
    lake
        The lake that it was packed from, for categories and titles.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    speed_rounds
        Rounds in which every policy is timed, in turns.
    """
    batches = describe(PackedDirectory.open(read.packed(data))).summary
    training = train(data=data, out=Place.of(out), config=config, read=read)
    assert training is not None, "the demo trains in one process"
    checkpoint = Path(training["checkpoint"])
    with stage("evaluation"), quiet():  # the demo's screen shows it
        kept = Place.of(checkpoint)
        quality = evaluate(checkpoint=kept, data=data, lake=_place(lake), truth=_place(truth), read=read)
    speed = encode_once(checkpoint=checkpoint, data=data, rounds=speed_rounds, policies=SHOWN, cache=read)
    found = {"batches": batches, "training": training, "quality": quality, "speed": speed}
    return {**found, "reader": _reader(out / "examples.json"), "stages": seconds_of_stages}


def _place(path: Path | None) -> Place | None:
    return None if path is None else Place.of(path)


def _reader(examples: Path) -> dict[str, Any] | None:
    """The user of the recommendations on the last screen: that of the first example with a few clicks."""
    found = json_file(examples, list[Example]) if name_exists(examples) else []
    return next((example for example in found if len(example["history"]) > 2), None)


if __name__ == "__main__":
    raise SystemExit(run(demo_trainer))
