"""The program in an export gives the trainer's vectors without the rest of feedloop."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel

from schemas.manifest import Tokens
from schemas.token_table import TokenTable
from tests.exported import tiny_tokenizer
from tests.packed import VOCABULARY, tiny_plm
from tests.trainer.model.families import families, name_of, saved
from trainer.exact.scene import random_tokens
from trainer.model.feedloop_encoder import NewsEncoder
from trainer.model.item_input import ItemInput
from trainer.model.text_encoder import TextEncoder, TextEncoderConfig
from trainer.serve.export_files import write_encoder

TOKENS = Tokens(
    tokenizer="tiny",
    tokenizer_sha256="0" * 64,
    vocabulary=VOCABULARY,
    pad_id=0,
    special_tokens=2,
    tokens_per_segment=6,
    segments_per_item=2,
    fields=("title", "body"),
    select="text",
    rows=9,
)
CPU = torch.device("cpu")
Lists = list[list[list[int]]]


def bert(folder: Path) -> str:
    return tiny_plm(folder, layers=3)


def trained(plm: str, *, frozen_layers: int, bus: bool) -> tuple[TextEncoder, TextEncoderConfig]:
    """An encoder whose trained weights all differ from their initial values."""
    config = TextEncoderConfig(plm=plm, frozen_layers=frozen_layers, vector_width=16, pooling_width=8, bus=bus)
    torch.manual_seed(1)
    encoder = TextEncoder(config).eval()
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
        assert encoder.frequency is not None
        encoder.frequency.weight[0] = 0
    return encoder, config


def refined_table() -> TokenTable:
    """Nine items of one to several segments, every even segment refined: keywords three apart, each five times."""
    table = random_tokens(np.random.default_rng(3), 8, vocabulary=VOCABULARY)
    refined_S = np.arange(len(table.refined_S)) % 2 == 0
    lengths = np.diff(table.token_start_S1)[refined_S]
    frequency = [value for length in lengths for value in (0, *[5] * (length - 2), 0)]
    position = [value for length in lengths for value in (0, *range(1, 1 + 3 * (length - 2), 3), 0)]
    return replace(
        table,
        refined_S=refined_S,
        keyword_frequency_R=np.array(frequency, np.uint8),
        keyword_position_R=np.array(position, np.uint16),
    )


def as_lists(table: TokenTable) -> tuple[Lists, Lists, Lists]:
    """Token ids, frequencies and positions of the items 1 to V - 1, as ITEM_TOKENS has them."""
    starts = table.token_start_S1
    refined_S = np.repeat(table.refined_S, np.diff(starts))
    spread = [np.zeros(len(table.token_values), int) for _ in range(2)]
    spread[0][refined_S], spread[1][refined_S] = table.keyword_frequency_R, table.keyword_position_R

    def of(values: np.ndarray, *, only_refined: bool) -> Lists:
        def segment(s: int) -> list[int]:
            return [] if only_refined and not table.refined_S[s] else values[starts[s] : starts[s + 1]].tolist()

        first = table.segment_start_V1
        return [[segment(s) for s in range(first[row], first[row + 1])] for row in range(1, table.rows)]

    ids = of(np.asarray(table.token_values), only_refined=False)
    return ids, of(spread[0], only_refined=True), of(spread[1], only_refined=True)


@pytest.mark.parametrize("frozen_layers", [0, 1])
@pytest.mark.parametrize("plm", families(), ids=name_of)
def test_token_ids_give_the_trainers_vectors(tmp_path: Path, plm: Any, frozen_layers: int) -> None:
    if frozen_layers and type(plm).__name__ == "AlbertModel":
        pytest.skip("this family cannot be split")
    plm.save_pretrained(tmp_path / "plm")
    check_vectors(tmp_path, frozen_layers=frozen_layers, bus=True)


@pytest.mark.parametrize("frozen_layers", [0, 2])
@pytest.mark.parametrize("name", ["BART", "DeBERTa-v2", "GPT-2", "Longformer", "MPNet", "Qwen3", "XLNet"])
def test_token_ids_give_the_trainers_vectors_without_a_bus(tmp_path: Path, name: str, frozen_layers: int) -> None:
    saved(name, tmp_path / "plm")
    check_vectors(tmp_path, frozen_layers=frozen_layers, bus=False)


@pytest.mark.parametrize(("name", "frozen_layers"), [("T5", 0), ("CLIP (text)", 1)])
def test_the_part_that_encodes_text_comes_back_from_an_export(tmp_path: Path, name: str, frozen_layers: int) -> None:
    saved(name, tmp_path / "plm")
    check_vectors(tmp_path, frozen_layers=frozen_layers, bus=False)


def check_vectors(tmp_path: Path, *, frozen_layers: int, bus: bool) -> None:
    """The program of an export gives the trainer's vectors of the language model in `plm`."""
    encoder, config = trained(str(tmp_path / "plm"), frozen_layers=frozen_layers, bus=bus)
    write_encoder(tmp_path / "out", encoder, config, TOKENS)
    table = refined_table()
    with torch.no_grad():
        wanted = encoder(np.arange(1, table.rows), ItemInput(table, device=CPU))
    ids, frequency, position = as_lists(table)
    assert max(map(len, ids)) > 1
    found = NewsEncoder(tmp_path / "out").encode(ids, frequency=frequency, position=position)
    assert torch.allclose(found, wanted, atol=1e-5)
    without = NewsEncoder(tmp_path / "out").encode(ids)
    assert not torch.allclose(without, wanted, atol=1e-3)  # keywords' frequency counts


def test_the_bus_has_an_effect(tmp_path: Path) -> None:
    encoder, config = trained(bert(tmp_path / "plm"), frozen_layers=1, bus=True)
    write_encoder(tmp_path / "out", encoder, config, TOKENS)
    settings = json.loads((tmp_path / "out" / "feedloop.json").read_text())
    assert settings["first_bus_layer"] == 1
    items = as_lists(refined_table())[0]
    with_bus = NewsEncoder(tmp_path / "out").encode(items)
    (tmp_path / "out" / "feedloop.json").write_text(json.dumps(settings | {"bus": False}))
    assert float((NewsEncoder(tmp_path / "out").encode(items) - with_bus).abs().max()) > 1e-4


@pytest.mark.parametrize("frozen_layers", [0, 2])
def test_any_hugging_face_program_loads_the_language_model(tmp_path: Path, frozen_layers: int) -> None:
    encoder, config = trained(bert(tmp_path / "plm"), frozen_layers=frozen_layers, bus=False)
    write_encoder(tmp_path / "out", encoder, config, TOKENS)
    ids = torch.randint(5, VOCABULARY, (3, 7))
    mask = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        found = AutoModel.from_pretrained(tmp_path / "out").eval()(input_ids=ids, attention_mask=mask).last_hidden_state
        below = encoder.split.lower(ids, mask) if frozen_layers else ids
        assert torch.allclose(found, encoder.split(below, mask), atol=1e-5)


def test_texts_become_vectors_without_the_project(tmp_path: Path) -> None:
    tiny_plm(tmp_path / "plm")
    tiny_tokenizer(tmp_path / "plm")
    encoder, config = trained(str(tmp_path / "plm"), frozen_layers=1, bus=True)
    write_encoder(tmp_path / "out", encoder, config, TOKENS)
    items = [["w7  w8\n", "w9"], ["w10 w11 w12 w13 w14 w15 w16", ""], ["", ""]]
    program = (
        "import json, sys\n"
        "from feedloop_encoder import NewsEncoder\n"
        f"found = NewsEncoder('.').encode_texts({items!r})\n"
        "assert not {'trainer', 'schemas'} & set(sys.modules)\n"
        "print(json.dumps(found.tolist()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "out", capture_output=True, text=True, check=False,
        env={"PYTHONPATH": ".", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    ids = [[[1, 7, 8, 2], [1, 9, 2]], [[1, 10, 11, 12, 13, 2]], [[1, 2]]]  # six tokens a segment
    assert torch.allclose(found, NewsEncoder(tmp_path / "out").encode(ids), atol=1e-6)


def test_an_item_without_tokens_raises_an_error(tmp_path: Path) -> None:
    encoder, config = trained(bert(tmp_path / "plm"), frozen_layers=0, bus=False)
    write_encoder(tmp_path / "out", encoder, config, TOKENS)
    with pytest.raises(ValueError, match="pass at least its special tokens"):
        NewsEncoder(tmp_path / "out").encode([[[1, 2]], [[]]])
