"""Encoder speed: times forward and backward of complete chunks, as a share of the device's peak (MFU).

The formula is in trainer/cost/flops.py. Hardware MFU counts every computed token, useful MFU those that are not
padding, each with its own segment's keys. Weights are bfloat16, as in the copy that computes in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertModel
from transformers.utils import logging as hf_logging

from trainer.cost.flops import LayerShape, layer_flops, peak_flops, seconds_of
from trainer.cost.memory import free_cached, peak_memory
from trainer.encode.cutting import Lengths, PaddedForms
from trainer.model.packed_rows import FLEX_BLOCK, PackedSegments, RowMaps, pack_rows
from trainer.model.split_encoder import SplitEncoder

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {},
}
TITLE_TOKENS = 15.9  # mean of MIND's titles, [CLS] and [SEP] included
_VOCABULARY = 30_522
_CHUNKS = 8  # of titles: enough that the last one, which is not full, counts little

Forward = Callable[[], Tensor]  # the layers' hidden states

LOADS = ("full", "titles", "rows_sdpa", "rows_flex")


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedConfig:
    """The workload that is timed."""

    size: str = "base"
    """tiny, minilm or base: the encoder's shape; its weights are random, which costs the same"""
    loads: tuple[str, ...] = LOADS
    """full: segments of the longest length; titles: padded, in chunks of few shapes, as on a GPU; rows_sdpa, rows_flex:
    titles in shared rows, with a mask for SDPA or with FlexAttention's compiled kernel"""
    segments: int = 1024
    """segments of a chunk; chunks of titles have the tokens of as many segments of half the longest length"""
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
        if unknown := sorted(set(self.loads) - set(LOADS)):
            raise ValueError(f"--loads names {unknown}: use {', '.join(LOADS)}")
        if min(self.segments, self.repeats) < 1 or self.tokens < 4:
            raise ValueError("--segments and --repeats must be 1 or more, --tokens 4 or more")
        if self.row_tokens < self.tokens:
            raise ValueError(f"--row-tokens is {self.row_tokens}: a row must hold a segment of {self.tokens}")


class Load(NamedTuple):
    """The forward passes of chunks, the segments' lengths, and the lengths of the rows that are computed."""

    forwards: list[Forward]
    real_C: NDArray[np.int64]
    computed_R: NDArray[np.int64]


def encoder_speed(config: SpeedConfig, device: torch.device) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields for each load its name, and its seconds, MFU and peak memory, or {"left_out": reason}."""
    torch.manual_seed(config.seed)
    shape = bert_shape(config.size)
    shape.attention_probs_dropout_prob = config.attention_dropout
    encoder = SplitEncoder(BertModel(shape), frozen_layers=0, packed=True).to(device).train()
    if config.bfloat16:
        encoder = encoder.to(torch.bfloat16)
    layers = LayerShape.bert(width=shape.hidden_size, inner=shape.intermediate_size, layers=shape.num_hidden_layers)
    peak = peak_flops(device, bfloat16=config.bfloat16)
    for name in config.loads:
        if reason := _left_out(name, config, device):
            yield name, {"left_out": reason}
            continue
        try:
            load = _load(name, encoder, config, device)
            yield name, _timed(encoder, load, layers, repeats=config.repeats, device=device, peak=peak)
        except RuntimeError as error:  # no memory, or no compiler for this device: the other loads are measured
            encoder.zero_grad()
            free_cached(device)
            words = " ".join(str(error).split())
            yield name, {"left_out": f"{type(error).__name__}: {words[:500]}"}


def _left_out(name: str, config: SpeedConfig, device: torch.device) -> str | None:
    if name != "rows_flex":
        return None
    if device.type != "cuda":
        return f"not on a {device.type}: there FlexAttention does not train with its compiled kernel"
    if config.row_tokens % FLEX_BLOCK:
        return f"rows of {config.row_tokens} tokens: FlexAttention takes multiples of {FLEX_BLOCK}"
    return "FlexAttention has no dropout of attention weights" if config.attention_dropout else None


def _load(name: str, encoder: SplitEncoder, config: SpeedConfig, device: torch.device) -> Load:
    rng = np.random.default_rng(config.seed)
    if name == "full":
        return _padded(encoder, [(np.full(config.segments, config.tokens), config.tokens)], config, device)
    if name == "titles":
        titles = title_lengths(rng, _CHUNKS * config.segments, longest=config.tokens)
        return _padded(encoder, _cut(titles, config.segments), config, device)
    titles = title_lengths(rng, config.segments, longest=config.tokens)
    return _in_rows(encoder, titles, config, device, flex=name == "rows_flex")


def _cut(titles: NDArray[np.int64], segments: int) -> list[tuple[NDArray[np.int64], int]]:
    """(lengths, what they are padded to) of each chunk; 0 is the length of a padding row."""
    lengths = np.concatenate([np.zeros(1, np.int64), titles])  # row 0 is padding, as in training
    forms = PaddedForms((segments, max(1, segments // 4)), Lengths(lengths, lengths, 1))
    chunks = []
    for places, rows in forms.cut(np.arange(1, len(lengths))):
        rows_C = np.zeros(rows, np.int64)
        rows_C[: len(places)] = 1 + places
        chunks.append((lengths[rows_C], forms.form(rows_C).tokens))
    return chunks


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


def _padded(
    encoder: SplitEncoder, chunks: list[tuple[NDArray[np.int64], int]], config: SpeedConfig, device: torch.device
) -> Load:
    """`chunks`: see _cut."""
    forward = torch.compile(encoder, dynamic=False) if config.compiled else encoder
    forwards: list[Forward] = []
    for length_C, tokens in chunks:
        ids_CT = torch.randint(5, _VOCABULARY, (len(length_C), tokens), device=device)
        seen_C = torch.from_numpy(np.maximum(length_C, 1)).to(device)  # a padding row shows one token
        forwards.append(partial(forward, ids_CT, torch.arange(tokens, device=device) < seen_C[:, None]))
    real_C = np.concatenate([length_C[length_C > 0] for length_C, _ in chunks])
    return Load(forwards, real_C, np.concatenate([np.full(len(length_C), tokens) for length_C, tokens in chunks]))


def _in_rows(
    encoder: SplitEncoder, length_C: NDArray[np.int64], config: SpeedConfig, device: torch.device, *, flex: bool
) -> Load:
    longest, width = int(length_C.max()), config.row_tokens
    made = pack_rows(length_C[:, None], longest=longest, width=width)
    maps = RowMaps.of(made.source_RW, segments=1, longest=longest).map(lambda each: torch.from_numpy(each).to(device))
    ids_RW = torch.randint(5, _VOCABULARY, made.source_RW.shape, device=device)
    forward = torch.compile(encoder.packed, dynamic=False) if config.compiled else encoder.packed

    def once() -> Tensor:
        return forward(ids_RW, PackedSegments(maps, first_layer=0, bus=False, flex=flex))  # each chunk makes its own

    return Load([once], length_C, np.full(len(made.source_RW), width))


def _timed(
    encoder: SplitEncoder, load: Load, shape: LayerShape, *, repeats: int, device: torch.device, peak: float
) -> dict[str, float]:
    def once() -> None:
        for forward in load.forwards:
            forward()[:, 0].float().square().mean().backward()
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
