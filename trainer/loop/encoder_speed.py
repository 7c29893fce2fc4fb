"""Encoder speed: forward and backward of whole chunks, as a share of what the device can multiply (MFU).

Formula, per real or padded token, of a BERT-shaped layer of width H and inner width F whose token sees K keys:
forward 2 (4 H^2 + 2 H F) + 4 H K, backward twice as much; embeddings, norms and softmax count nothing. Hardware MFU
counts every token that was computed, useful MFU those that are not padding, each with the keys of its own segment.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig, BertModel

from trainer.loop.memory import peak_memory, settled
from trainer.model.split_encoder import SplitEncoder

# Dense bfloat16 multiplications of tensor cores, per second, as the vendor tells them.
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12}
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
    shape = BertConfig(vocab_size=_VOCABULARY, **SIZES[config.size])
    encoder = SplitEncoder(BertModel(shape), frozen_layers=0).to(device).train()
    step = torch.compile(encoder) if config.compiled else encoder
    rng = np.random.default_rng(config.seed)
    titles = np.clip(rng.poisson(TITLE_TOKENS - 3, config.segments) + 3, 3, config.tokens)
    loads = {"full": np.full(config.segments, config.tokens), "titles": np.sort(titles)}
    peak = peak_flops(device, config)
    found = {
        name: _timed(step, shape, lengths, config=config, device=device, peak=peak) for name, lengths in loads.items()
    }
    return {"config": asdict(config), "device": device_name(device), "peak_flops": peak, **found}


def device_name(device: torch.device) -> str:
    """What the device calls itself."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def peak_flops(device: torch.device, config: SpeedConfig) -> float:
    """The vendor's figure for a device that is known, else the best of five large matrix products."""
    for name, peak in PEAKS.items():
        if config.bfloat16 and name in device_name(device):
            return peak
    side = 4096 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if config.bfloat16 else torch.float32
    left = torch.randn(side, side, device=device).to(dtype)
    seconds = []
    for _ in range(6):
        seconds.append(_seconds(lambda: left @ left, device))
    return 2 * side**3 / min(seconds[1:])


def layer_flops(shape: BertConfig, lengths: NDArray[np.integer[Any]]) -> float:
    """Of forward and backward over segments of these lengths, each token seeing its own segment's keys."""
    width, inner = shape.hidden_size, shape.intermediate_size
    tokens, pairs = float(lengths.sum()), float((lengths.astype(np.float64) ** 2).sum())
    forward = tokens * 2 * (4 * width**2 + 2 * width * inner) + 4 * width * pairs
    return 3 * shape.num_hidden_layers * forward


def _timed(
    encoder: Any,
    shape: BertConfig,
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
    seconds = [_seconds(once, device) for _ in range(config.repeats)]
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


def _seconds(work: Any, device: torch.device) -> float:
    settled(device)
    began = time.perf_counter()
    work()
    settled(device)
    return time.perf_counter() - began
