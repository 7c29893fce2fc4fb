"""Encoder speed: times forward and backward of complete chunks, as a share of the device's peak (MFU).

The formula is in trainer/cost/flops.py. Hardware MFU counts every computed token, useful MFU those that are not
padding, each with its own segment's keys. Weights are bfloat16, as in the copy that computes in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertModel
from transformers.utils import logging as hf_logging

from trainer.cost.flops import LayerShape, device_name, layer_flops, peak_flops, seconds_of
from trainer.cost.memory import peak_memory
from trainer.model.packed_rows import RowMaps, pack_rows
from trainer.model.split_encoder import SplitEncoder

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {},
}
TITLE_TOKENS = 15.9  # mean of MIND's titles, [CLS] and [SEP] included
_VOCABULARY = 30_522

Forward = Callable[[], Tensor]  # the layers' hidden states


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedConfig:
    """The workload that is timed."""

    size: str = "base"
    """tiny, minilm or base: the encoder's shape; its weights are random, which costs the same"""
    segments: int = 1024
    """segments of a chunk"""
    tokens: int = 32
    """longest segment"""
    repeats: int = 10
    """timed chunks, after two untimed ones"""
    row_tokens: int = 128
    """width of the rows that titles share, in tokens"""
    attention_dropout: float = 0.0
    """dropout of attention weights; FlexAttention, for shared rows on a GPU, has none"""
    bfloat16: bool = True
    """weights in bfloat16"""
    compiled: bool = False
    """torch.compile the encoder"""
    seed: int = 1
    """decides lengths and weights"""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"--size is {self.size!r}: use {', '.join(SIZES)}")
        if min(self.segments, self.repeats) < 1 or self.tokens < 4:
            raise ValueError("--segments and --repeats must be 1 or more, --tokens 4 or more")
        if self.row_tokens < self.tokens:
            raise ValueError(f"--row-tokens is {self.row_tokens}: a row must hold a segment of {self.tokens}")


class Load(NamedTuple):
    """One forward pass, the segments' lengths, and the lengths of the rows that are computed."""

    forward: Forward
    real_C: NDArray[np.int64]
    computed_R: NDArray[np.int64]


def encoder_speed(config: SpeedConfig, device: torch.device) -> dict[str, Any]:
    """Seconds, MFU and peak memory of chunks of full segments, of titles padded to the longest in the chunk, and of
    the same titles in shared rows."""
    torch.manual_seed(config.seed)
    shape = bert_shape(config.size)
    shape.attention_probs_dropout_prob = config.attention_dropout
    encoder = SplitEncoder(BertModel(shape), frozen_layers=0, packed=True).to(device).train()
    if config.bfloat16:
        encoder = encoder.to(torch.bfloat16)
    layers = LayerShape.bert(width=shape.hidden_size, inner=shape.intermediate_size, layers=shape.num_hidden_layers)
    titles = np.sort(title_lengths(np.random.default_rng(config.seed), config.segments, longest=config.tokens))
    loads = {
        "full": _padded(encoder, np.full(config.segments, config.tokens), config, device),
        "titles": _padded(encoder, titles, config, device),
        "rows": _in_rows(encoder, titles, config, device),
    }
    peak = peak_flops(device, bfloat16=config.bfloat16)
    found = {
        name: _timed(encoder, load, layers, repeats=config.repeats, device=device, peak=peak)
        for name, load in loads.items()
    }
    return {"config": asdict(config), "device": device_name(device), "peak_flops": peak, **found}


def bert_shape(size: str) -> BertConfig:
    """One of SIZES. ValueError for another."""
    if size not in SIZES:
        raise ValueError(f"--size is {size!r}: use {', '.join(SIZES)}")
    return BertConfig(vocab_size=_VOCABULARY, **SIZES[size])


def random_plm(folder: Path, size: str, *, seed: int) -> str:
    """Writes a language model of that size with random weights to `folder` and returns its path, as a plm option."""
    hf_logging.disable_progress_bar()
    torch.manual_seed(seed)
    BertModel(bert_shape(size)).save_pretrained(folder)
    return str(folder)


def title_lengths(rng: np.random.Generator, segments: int, *, longest: int) -> NDArray[np.int64]:
    """Tokens of random titles, [CLS] and [SEP] included."""
    return np.clip(rng.poisson(TITLE_TOKENS - 3, segments) + 3, 3, longest)


def _padded(encoder: SplitEncoder, lengths: NDArray[np.int64], config: SpeedConfig, device: torch.device) -> Load:
    longest = int(lengths.max())
    ids_CT = torch.randint(5, _VOCABULARY, (len(lengths), longest), device=device)
    mask_CT = torch.arange(longest, device=device) < torch.from_numpy(lengths).to(device)[:, None]
    forward = torch.compile(encoder, dynamic=False) if config.compiled else encoder
    return Load(lambda: forward(ids_CT, mask_CT), lengths, np.full(len(lengths), longest))


def _in_rows(encoder: SplitEncoder, lengths: NDArray[np.int64], config: SpeedConfig, device: torch.device) -> Load:
    longest, width = int(lengths.max()), config.row_tokens
    made = pack_rows(lengths[:, None], longest=longest, width=width)
    maps = RowMaps.of(made.source_RW, segments=1, longest=longest).map(lambda each: torch.from_numpy(each).to(device))
    ids_RW = torch.randint(5, _VOCABULARY, made.source_RW.shape, device=device)
    forward = torch.compile(encoder.packed, dynamic=False) if config.compiled else encoder.packed

    def once() -> Tensor:
        attention = encoder.packed_attention(maps)  # each chunk makes its own
        return forward(ids_RW, attention)

    return Load(once, lengths, np.full(len(made.source_RW), width))


def _timed(
    encoder: SplitEncoder, load: Load, shape: LayerShape, *, repeats: int, device: torch.device, peak: float
) -> dict[str, float]:
    def once() -> None:
        load.forward()[:, 0].float().square().mean().backward()
        for parameter in encoder.parameters():
            parameter.grad = None

    for _ in range(2):
        once()
    seconds = [seconds_of(once, device) for _ in range(repeats)]
    with peak_memory(device) as most:
        once()
    middle = median(seconds)
    return {
        "seconds": middle,
        "spread": (max(seconds) - min(seconds)) / middle,
        "segments_per_second": len(load.real_C) / middle,
        "tokens_per_second": float(load.real_C.sum()) / middle,
        "hardware_mfu": layer_flops(shape, load.computed_R) / middle / peak,
        "useful_mfu": layer_flops(shape, load.real_C) / middle / peak,
        "peak_bytes": float(most[0]),
    }
