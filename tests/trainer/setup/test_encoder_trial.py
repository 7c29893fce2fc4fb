"""The trial before the first step: a family supports what FAMILIES.md says; the rest raises an error that names it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from jobs.train import train
from schemas.errors import InputError
from schemas.storage.place import Place
from tests.packed import packed_directory
from tests.trainer.loop.test_trainer import start
from tests.trainer.model.families import FAMILIES, saved
from tests.trainer.model.family_table import CHEAP, COMMAND, COMPILED, FILE, HEAD, in_file, row_of, tried
from trainer.config import TrainConfig
from trainer.exact.scene import random_tokens
from trainer.loop.session import TrainingSession
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.run_config import RunConfig


def as_cells(found: dict[str, Any]) -> dict[str, str]:
    return {column: "no" if each.refused else "yes" for column, each in found.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_what_the_table_says(name: str, tmp_path: Path) -> None:
    found, table = row_of(name, tmp_path, CHEAP), in_file()[name]
    assert as_cells(found) == {column: table[column] for column in CHEAP}, f"rewrite {FILE.name} with {COMMAND}"
    for column, each in found.items():
        assert not each.refused or "Set " in each.refused or "Name another" in each.refused, (column, each.refused)


def test_the_table_holds_these_families_and_no_others() -> None:
    assert list(in_file()) == list(FAMILIES)
    assert FILE.read_text().startswith(HEAD)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_compiled_where_the_table_says(name: str, tmp_path: Path) -> None:
    assert as_cells(row_of(name, tmp_path, COMPILED)) == {column: in_file()[name][column] for column in COMPILED}


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("MPNet", {"bus": True}, r"plm '.*' \(MPNetModel\) does not let segments hear .* Set encoder\.bus = false"),
        ("DeBERTa-v2", {"row_tokens": 32}, r"cannot share rows between items .* Set encoder\.row_tokens = 0"),
        ("T5", {"frozen_layers": 1}, r"cannot be cut at layer 1: .* Set encoder\.frozen_layers = 0"),
        ("ConvBERT", {}, r"output that depends on the padding behind a text .* Name another --encoder\.plm"),
        ("Llama", {"bus": True}, r"a token sees those before it alone.* Set encoder\.bus = false"),
        ("Mamba", {"half": True}, r"cannot be trained in bfloat16 .* Set run\.precision = float32"),
        ("Gemma 2", {"bus": True}, r"Set encoder\.bus = false"),
    ],
)
def test_what_a_family_cannot_do_is_refused_with_the_way_out(
    name: str, asked: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        raise InputError(tried(saved(name, tmp_path), **asked).refused)


def small(plm: str, **encoder: Any) -> TrainConfig:
    parts = {"frozen_layers": 0, "vector_width": 8, "pooling_width": 8, **encoder}
    run = RunConfig(batches_per_step=2, epochs=2, save_every_steps=2, reader="arrow", tensorboard=False)
    return TrainConfig(run=run, encoder=TextEncoderConfig(plm=plm, **parts))


@pytest.mark.parametrize("dry_run", [False, True])
def test_train_and_its_dry_run_refuse_alike_and_write_nothing(tmp_path: Path, *, dry_run: bool) -> None:
    data, config = packed_directory(tmp_path / "packed"), small(saved("MPNet", tmp_path / "plm"), bus=True)
    with pytest.raises(InputError, match="does not let segments hear each other"):
        train(data=data, out=Place.of(tmp_path / "run"), config=config, dry_run=dry_run, device="cpu")
    assert not (tmp_path / "run").exists()


def test_segments_longer_than_positions_are_refused_before_the_first_step(tmp_path: Path) -> None:
    data = packed_directory(tmp_path / "packed")
    shape = FAMILIES["RoBERTa"]().config
    shape.max_position_embeddings = 11  # two of which stand before the first token
    torch.manual_seed(0)
    type(FAMILIES["RoBERTa"]())(shape).save_pretrained(tmp_path / "plm")
    with pytest.raises(InputError, match=r"segments of 10 tokens, plm '.*' reads 9\. .*--tokens-per-segment 9"):
        train(
            data=data, out=Place.of(tmp_path / "run"), config=small(str(tmp_path / "plm")), dry_run=True, device="cpu"
        )


def test_the_trial_changes_nothing_that_the_run_draws_or_trains(tmp_path: Path) -> None:
    plm = saved("GPT-2", tmp_path)
    torch.manual_seed(5)
    encoder = TextEncoder(small(plm).encoder)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    drawn = torch.random.get_rng_state()
    torch.manual_seed(5)
    assert not tried(plm).refused
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.state_dict().items())


def test_a_decoders_segment_is_its_last_real_token(tmp_path: Path) -> None:
    plm = saved("GPT-2", tmp_path)
    encoder = TextEncoder(small(plm).encoder).eval()
    table = random_tokens(np.random.default_rng(2), 6, vocabulary=200)
    items, one = (
        ItemInput(table, device=torch.device("cpu")),
        int(np.flatnonzero(np.diff(table.segment_start_V1) == 1)[0]),
    )
    first = table.segment_start_V1[one]
    ids = torch.from_numpy(
        table.token_values[table.token_start_S1[first] : table.token_start_S1[first + 1]].astype(int)
    )
    with torch.no_grad():
        last = encoder.split.upper(input_ids=ids[None]).last_hidden_state[0, -1]
        found = encoder(np.arange(1, 7), items)[one - 1]
    assert torch.allclose(found, encoder.project(last), atol=1e-5)


@pytest.mark.parametrize("name", ["T5", "BART", "XLNet"])
def test_weights_that_share_memory_are_saved_and_resumed_to_the_bit(name: str, tmp_path: Path) -> None:
    data, config = packed_directory(tmp_path / "packed", trajectories=24), small(saved(name, tmp_path / "plm"))

    def run(out: str, stop_at: int | None) -> dict[str, torch.Tensor]:
        (tmp_path / out).mkdir(exist_ok=True)
        trainer = start(config, data)
        session = TrainingSession(trainer, tmp_path / out, asked_to_stop=lambda: trainer.step == stop_at)
        session.resume()
        session.fit()
        return dict(trainer.model.state_dict())

    unbroken = run("unbroken", None)
    run("run", 3)
    gone_on = run("run", None)
    assert all(torch.equal(unbroken[key], gone_on[key]) for key in unbroken)
