"""Warm start: which checkpoints a new run may begin with, and on which token tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.packed import packed_directory, token_table
from tests.trainer.loop.test_staleness import config_of
from tests.trainer.loop.test_trainer import ready, start
from trainer.checkpoint.files import Checkpoint, ResumeError, load_checkpoint, save_checkpoint
from trainer.config import TrainConfig
from trainer.loop.warm_start import begin_from, token_identity
from trainer.setup.prepare import load_weights, prepare_again


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    return config_of(tmp_path, rate=1e-2)


@pytest.fixture
def saved(config: TrainConfig, tmp_path: Path) -> Checkpoint:
    """A checkpoint after three steps on 30 items."""
    trainer = start(config, packed_directory(tmp_path / "today", items=30))
    for step, _ in zip(trainer.epoch_steps(packed_steps=3), range(3), strict=True):
        trainer.take_step(step)
    return trainer.checkpoint()


def kept(checkpoint: Checkpoint, folder: Path) -> Path:
    save_checkpoint(checkpoint, folder)
    return folder


def with_tokens(checkpoint: Checkpoint, row: int, *, tokens: int = 0, version: int = 0) -> Checkpoint:
    """As if that row had had other tokens, or another version, when the checkpoint was made."""
    identity = {name: tensor.clone() for name, tensor in checkpoint.tensors["tokens"].items()}
    identity["hash_V"][row] += tokens
    identity["version_V"][row] += version
    return replace(checkpoint, tensors={**checkpoint.tensors, "tokens": identity})


def test_a_run_begins_with_the_weights_of_one_that_knew_fewer_items(
    config: TrainConfig, saved: Checkpoint, tmp_path: Path
) -> None:
    prepared = ready(config, packed_directory(tmp_path / "tomorrow", items=40))
    found = begin_from(prepared, kept(saved, tmp_path / "checkpoint"))
    assert (found.new, found.changed, found.first_step) == (10, 0, 3)
    weights = prepared.model.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in saved.tensors["model"].items())


def test_tokens_that_changed_with_their_version_are_counted(
    config: TrainConfig, saved: Checkpoint, tmp_path: Path
) -> None:
    prepared = ready(config, packed_directory(tmp_path / "tomorrow", items=30))
    older = with_tokens(saved, 7, tokens=1, version=-1)
    assert begin_from(prepared, kept(older, tmp_path / "checkpoint")).changed == 1


@pytest.mark.parametrize(
    ("items", "seed", "message"),
    [(20, 0, "has 31 item rows, the token table only 21"), (30, 5, "rows hold other news")],
    ids=["fewer", "others"],
)
def test_a_token_table_that_does_not_extend_the_checkpoints_is_refused(
    config: TrainConfig, saved: Checkpoint, tmp_path: Path, items: int, seed: int, message: str
) -> None:
    prepared = ready(config, packed_directory(tmp_path / "tomorrow", items=items, seed=seed))
    with pytest.raises(ResumeError, match=message):
        begin_from(prepared, kept(saved, tmp_path / "checkpoint"))


def test_one_row_of_other_tokens_or_of_a_later_version_is_found(
    config: TrainConfig, saved: Checkpoint, tmp_path: Path
) -> None:
    prepared = ready(config, packed_directory(tmp_path / "tomorrow", items=30))
    for number, wrong in enumerate((with_tokens(saved, 9, tokens=1), with_tokens(saved, 9, version=1))):
        with pytest.raises(ResumeError, match="1 of its 31 rows hold other news"):
            begin_from(prepared, kept(wrong, tmp_path / f"checkpoint-{number}"))


def test_another_model_or_tokenizer_is_refused_by_name(config: TrainConfig, saved: Checkpoint, tmp_path: Path) -> None:
    data = packed_directory(tmp_path / "tomorrow", items=30)
    wider = replace(config, encoder=replace(config.encoder, vector_width=16))
    with pytest.raises(ResumeError, match=r"encoder\.vector_width was 8 and is 16"):
        begin_from(ready(wider, data), kept(saved, tmp_path / "checkpoint"))
    state = {**saved.state, "data": {**saved.state["data"], "tokenizer_sha256": "1" * 64}}
    with pytest.raises(ResumeError, match="another tokenizer"):
        begin_from(ready(config, data), kept(replace(saved, state=state), tmp_path / "other"))


def test_rows_that_changed_places_are_found(config: TrainConfig, saved: Checkpoint, tmp_path: Path) -> None:
    tokens = {name: tensor.clone() for name, tensor in saved.tensors["tokens"].items()}
    tokens["hash_V"][[4, 5]] = tokens["hash_V"][[5, 4]]
    place = kept(replace(saved, tensors={**saved.tensors, "tokens": tokens}), tmp_path / "checkpoint")
    with pytest.raises(ResumeError, match=f"{place}.*2 of its 31 rows hold other news"):
        begin_from(ready(config, packed_directory(tmp_path / "tomorrow", items=30)), place)


def evaluate_with(checkpoint: Path, data: Path) -> None:
    saved = load_checkpoint(checkpoint)
    load_weights(prepare_again(saved, data, store=None, device=torch.device("cpu")).model, saved)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("tokens", {}),
        ("tokens", {"hash_V": torch.zeros(31, dtype=torch.long), "version_V": torch.ones(1, dtype=torch.long)}),
        ("tokens", {"hash_V": torch.zeros(()), "version_V": torch.zeros(())}),
        ("model", {}),
        ("data", None),
        ("config", []),
        ("config", {"run": 1}),
        ("position", {"step": "x"}),
        ("frozen_sha256", None),
    ],
    ids=range(9),
)
def test_a_checkpoint_of_other_contents_is_refused_by_name(
    config: TrainConfig, saved: Checkpoint, tmp_path: Path, part: str, value: Any
) -> None:
    if part in saved.tensors:
        other = replace(saved, tensors={**saved.tensors, part: value})
    else:
        other = replace(saved, state={**saved.state, part: value})
    prepared = ready(config, packed_directory(tmp_path / "tomorrow", items=30))
    place = kept(other, tmp_path / "checkpoint")
    with pytest.raises(ResumeError, match=f"{place}: "):
        begin_from(prepared, place)
    if part in ("model", "config", "frozen_sha256"):
        with pytest.raises(ResumeError, match=f"{place}: "):
            evaluate_with(place, tmp_path / "tomorrow")


def test_every_token_of_a_row_counts_and_its_place() -> None:
    table = token_table(5)
    before = token_identity(table)["hash_V"]
    assert len(set(before.tolist())) == 6
    start, end = table.token_start_S1[2], table.token_start_S1[3]
    turned = table.token_values.copy()
    turned[start:end] = turned[start:end][::-1]
    after = token_identity(replace(table, token_values=turned))["hash_V"]
    assert (after != before).tolist() == [False, False, False, True, False, False]
