"""Encoder speed: forward and backward of whole chunks, as a share of what the device can multiply (MFU).

The formula stands in trainer/loop/flops.py. Hardware MFU counts every token that was computed, useful MFU those that
are not padding, each with the keys of its own segment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertModel
from transformers.utils import logging as hf_logging

from trainer.loop.flops import LayerShape, device_name, layer_flops, peak_flops, seconds_of
from trainer.loop.memory import peak_memory
from trainer.model.split_encoder import SplitEncoder

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 256},
    "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536},
    "base": {},
}
TITLE_TOKENS = 15.9  # mean of MIND's titles, [CLS] and [SEP] included
_VOCABULARY = 30_522


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedConfig:
    """What is timed."""

    size: str = "base"
    """tiny, minilm or base: the encoder's shape; its weights are random, which costs the same"""
    segments: int = 1024
    """segments of a chunk"""
    tokens: int = 32
    """longest segment"""
    repeats: int = 10
    """chunks that are timed, after two that are not"""
    bfloat16: bool = True
    """multiply in bfloat16"""
    compiled: bool = False
    """torch.compile the encoder"""
    seed: int = 1
    """decides lengths and weights"""

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"--size is {self.size!r}: use {', '.join(SIZES)}")
        if min(self.segments, self.repeats) < 1 or self.tokens < 4:
            raise ValueError("--segments and --repeats must be 1 or more, --tokens 4 or more")


def encoder_speed(config: SpeedConfig, device: torch.device) -> dict[str, Any]:
    """Seconds, MFU and peak memory of chunks of full segments, and of titles cut to the longest in the chunk."""
    torch.manual_seed(config.seed)
    shape = bert_shape(config.size)
    encoder = SplitEncoder(BertModel(shape), frozen_layers=0).to(device).train()
    layers = LayerShape.bert(width=shape.hidden_size, inner=shape.intermediate_size, layers=shape.num_hidden_layers)
    step = torch.compile(encoder) if config.compiled else encoder
    rng = np.random.default_rng(config.seed)
    titles = title_lengths(rng, config.segments, longest=config.tokens)
    loads = {"full": np.full(config.segments, config.tokens), "titles": np.sort(titles)}
    peak = peak_flops(device, bfloat16=config.bfloat16)
    found = {
        name: _timed(step, layers, lengths, config=config, device=device, peak=peak) for name, lengths in loads.items()
    }
    return {"config": asdict(config), "device": device_name(device), "peak_flops": peak, **found}


def bert_shape(size: str) -> BertConfig:
    """One of SIZES. ValueError for another."""
    if size not in SIZES:
        raise ValueError(f"--size is {size!r}: use {', '.join(SIZES)}")
    return BertConfig(vocab_size=_VOCABULARY, **SIZES[size])


def random_plm(folder: Path, size: str, *, seed: int) -> str:
    """A folder with a language model of that size, its weights random, as a user would name one."""
    hf_logging.disable_progress_bar()
    torch.manual_seed(seed)
    BertModel(bert_shape(size)).save_pretrained(folder)
    return str(folder)


def title_lengths(rng: np.random.Generator, segments: int, *, longest: int) -> NDArray[np.int64]:
    """Tokens of random titles, [CLS] and [SEP] included."""
    return np.clip(rng.poisson(TITLE_TOKENS - 3, segments) + 3, 3, longest)


def _timed(
    encoder: Any,
    shape: LayerShape,
    lengths: NDArray[np.integer[Any]],
    *,
    config: SpeedConfig,
    device: torch.device,
    peak: float,
) -> dict[str, float]:
    longest = int(lengths.max())
    ids_CT = torch.randint(5, _VOCABULARY, (len(lengths), longest), device=device)
    mask_CT = torch.arange(longest, device=device) < torch.from_numpy(lengths).to(device)[:, None]

    def once() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bfloat16):
            hidden_CTH: Tensor = encoder(ids_CT, mask_CT)
        hidden_CTH[:, 0].float().square().mean().backward()
        for parameter in encoder.parameters():
            parameter.grad = None

    for _ in range(2):
        once()
    seconds = [seconds_of(once, device) for _ in range(config.repeats)]
    with peak_memory(device) as most:
        once()
    middle = median(seconds)
    computed = layer_flops(shape, np.full(len(lengths), longest))
    return {
        "seconds": middle,
        "spread": (max(seconds) - min(seconds)) / middle,
        "segments_per_second": len(lengths) / middle,
        "tokens_per_second": float(lengths.sum()) / middle,
        "hardware_mfu": computed / middle / peak,
        "useful_mfu": layer_flops(shape, lengths) / middle / peak,
        "peak_bytes": float(most[0]),
    }
