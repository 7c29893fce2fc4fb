"""Compatibility: a checkpoint with right checksums and wrong contents raises an error that names it before a step."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from schemas.errors import InputError
from tests.packed import packed_directory
from tests.trainer.loop.test_session import config
from tests.trainer.loop.test_trainer import start
from trainer.checkpoint.files import Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.checkpoint.retention import resolve_checkpoint
from trainer.config import TrainConfig
from trainer.encode.policies import Policy
from trainer.loop.session import TrainingSession

Tensors = dict[str, dict[str, Tensor]]


def run_of(tmp_path: Path, policy: Policy = "cached") -> tuple[TrainConfig, Path, Path]:
    """(config, packed directory, run folder) of a run that was stopped after its seventh step."""
    settings, data, out = config(tmp_path), packed_directory(tmp_path / "packed"), tmp_path / "run"
    settings = replace(settings, planner=replace(settings.planner, policy=policy))
    out.mkdir()
    trainer = start(settings, data)
    session = TrainingSession(trainer, out, asked_to_stop=lambda: trainer.step == 7)
    session.resume()
    session.fit()
    return settings, data, out


def resumed(settings: TrainConfig, data: Path, out: Path) -> None:
    """Resume for two steps."""
    trainer = start(settings, data)
    session = TrainingSession(trainer, out, asked_to_stop=lambda: trainer.step >= 9)
    session.resume()
    session.fit()


def loaded(place: Path) -> Checkpoint:
    """The checkpoint with all parts in memory, since its files will be replaced."""
    checkpoint = load_checkpoint(place)
    return replace(checkpoint, tensors=dict(checkpoint.tensors))


def changed(out: Path, change: Callable[[Tensors, dict[str, Any]], None]) -> Path:
    """Write the run's checkpoint with other contents and valid checksums; returns its path."""
    place = resolve_checkpoint(out / "checkpoint")
    checkpoint = loaded(place)
    tensors, state = {part: dict(named) for part, named in checkpoint.tensors.items()}, deepcopy(dict(checkpoint.state))
    change(tensors, state)
    save_checkpoint(Checkpoint(tensors=tensors, state=state), place)
    return place


def to(*keys: Any, value: Any) -> Callable[[Tensors, dict[str, Any]], None]:
    def change(tensors: Tensors, state: dict[str, Any]) -> None:
        inner: Any = tensors if keys[0] in tensors else state
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


def in_table(**arrays: Tensor) -> Callable[[Tensors, dict[str, Any]], None]:
    return lambda tensors, _: tensors["table-0"].update(arrays)


def in_planner(**arrays: Tensor) -> Callable[[Tensors, dict[str, Any]], None]:
    return lambda tensors, _: tensors["planner-0"].update(arrays)


def with_rows(change: Callable[[Tensor], Tensor]) -> Callable[[Tensors, dict[str, Any]], None]:
    return lambda tensors, _: tensors["table-0"].update(row_R=change(tensors["table-0"]["row_R"]).contiguous())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (to("table-0", "vector_RD", value=torch.zeros(1, 8)), r"table-0 vector_RD of shape \(1, 8\)"),
        (to("table-0", "vector_RD", value=torch.zeros(31, 8, dtype=torch.int64)), "table-0 vector_RD"),
        (with_rows(lambda row_R: row_R[:-1]), "table-0 last_encode_R"),
        (with_rows(lambda row_R: row_R.flip(0)), "table-0 row_R"),
        (with_rows(lambda row_R: row_R[:1].expand_as(row_R)), "table-0 row_R"),
        (with_rows(lambda row_R: row_R + 10**9), "table-0 row_R"),
        (with_rows(lambda row_R: row_R - 31), "table-0 row_R"),
        (with_rows(lambda row_R: row_R.int()), "table-0 row_R of shape .* and type int32"),
        (with_rows(lambda row_R: row_R[None]), "table-0 row_R"),
        (in_table(waiting_row_Q=torch.tensor([31]), waiting_QD=torch.zeros(1, 8)), "table-0 waiting_row_Q"),
        (in_table(waiting_row_Q=torch.tensor([3]), waiting_QD=torch.zeros(1, 3)), r"waiting_QD of shape \(1, 3\)"),
        (in_table(waiting_row_Q=torch.tensor([3])), "damaged"),
        (to("table-0", "last_encode_R", value=torch.tensor([7])), "table-0 last_encode_R"),
        (in_planner(since_row_S=torch.tensor([4, 3]), since_S=torch.tensor([1, 1])), "planner-0 since_row_S"),
        (in_planner(since_row_S=torch.tensor([3]), since_S=torch.tensor([7])), "planner-0 since_S"),
        (in_planner(since_row_S=torch.tensor([3]), since_S=torch.tensor([1, 2])), "planner-0 since_S"),
        (to("planner-0", "chunk_rows", value=torch.tensor([10**9])), "planner-0 chunk_rows"),
        (to("planner-0", "chunk_size", value=torch.tensor([[]])), "damaged"),
        (to("optimiser", "head/0/exp_avg", value=torch.zeros(1)), "head/0 is"),
        (to("optimiser", "../0/exp_avg", value=torch.zeros(1)), r"damaged \(KeyError|damaged: "),
        (to("optimiser", "head/x/step", value=torch.zeros(1)), "damaged"),
        (to("random-0", "torch", value=torch.zeros(3)), "damaged"),
        (to("position", "step", value=10**30), "damaged"),
        (to("position", "step", value=10**6), "its position"),
        (to("position", "epoch", value=-1), r"\$\.position\.epoch: Expected"),
        (to("position", "epoch_step", value=1.5), r"\$\.position\.epoch_step: Expected"),
        (to("shortened", value=[["a", 2]]), "its position|damaged"),
        (to("keeping", "log", "totals", "steps", value="x"), r"log\.totals\.steps is 'x'"),
        (to("keeping", "log", "drift", value={"looked_up": 1}), "damaged"),
        (to("keeping", "log", "drift", value={"looked_up": 1, "encoded": "x"}), r"log\.drift\.encoded: Expected"),
        (to("keeping", "best", value={"step": "1", "auc": 0.5}), "damaged"),
        (to("config", "run", "epochs", value=3.0), r"at \$\.run\.epochs: Expected `int`.*found 3\.0"),
        (to("ranks", value=10**12), "damaged"),
        (to("frozen_sha256", value=None), "another language model"),
        (to("model", value={}), "do not fit its config"),
    ],
    ids=range(35),
)
def test_contents_that_are_not_of_the_run_are_refused_by_name(
    tmp_path: Path, change: Callable[[Tensors, dict[str, Any]], None], said: str
) -> None:
    settings, data, out = run_of(tmp_path)
    place = changed(out, change)
    for other in place.parent.glob("step-*"):  # the run would resume from an intact one
        if other != place:
            shutil.rmtree(other)
    with pytest.raises(ResumeError, match=said) as refused:
        resumed(settings, data, out)
    assert str(place) in str(refused.value)


JUNK = (None, True, -1, 10**30, 1.5, float("nan"), "x", "../../x", [], [[]], {}, {"a": 1})


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every key and list place of nested plain values is."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from leaves(inner, (*path, key))


def spoilt(rng: random.Random, tensors: Tensors, state: dict[str, Any]) -> None:
    if rng.random() < 0.6:
        *path, last = rng.choice(list(leaves(state)))
        inner = state
        for key in path:
            inner = inner[key]
        inner[last] = rng.choice(JUNK)
        return
    part = rng.choice(sorted(tensors))
    name = rng.choice(sorted(tensors[part]))
    tensor = tensors[part][name]
    kinds: list[Callable[[], Any]] = [
        lambda: tensors.pop(part),
        lambda: tensors[part].pop(name),
        lambda: tensors[part].update({name: tensor.to(rng.choice([torch.int8, torch.float64, torch.bool]))}),
        lambda: tensors[part].update({name: tensor.flatten()[: rng.randrange(3)].clone()}),
        lambda: tensors[part].update({name: tensor[None].clone()}),
        lambda: tensors[part].update({rng.choice(["", "a/b", "a/b/c", "head/99/step"]): tensor.clone()}),
    ]
    rng.choice(kinds)()


@pytest.mark.parametrize("policy", ["cached", "carried", "accumulated"])
def test_with_any_contents_a_run_resumes_or_names_them_in_an_error(tmp_path: Path, policy: Policy) -> None:
    settings, data, out = run_of(tmp_path, policy)
    place = resolve_checkpoint(out / "checkpoint")
    original, metrics = loaded(place), (out / "metrics.jsonl").read_bytes()
    rng, refused = random.Random(policy), 0
    for _ in range(15):
        changed(out, lambda tensors, state: spoilt(rng, tensors, state))
        said = str(place)
        try:
            resumed(settings, data, out)
        except InputError as error:
            refused += 1
            said = str(error)
        assert str(place) in said
        for other in set((out / "checkpoint").iterdir()) - {place}:
            other.rename(tmp_path / f"{refused}-{rng.random()}")
        save_checkpoint(original, place)
        (out / "metrics.jsonl").write_bytes(metrics)
    assert refused >= 3
