"""Precision: the number format of the encoder's products, and whether the device multiplies it or emulates it."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
AskedPrecision = Literal["auto", "native", "float32", "bfloat16"]


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively: a GPU of capability 8.0 or more, or a processor.

    A processor needs avx512_bf16 or amx, and torch's oneDNN, which may be limited by DNNL_MAX_CPU_ISA, must use them.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    multiplies = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(multiplies and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def resolved(asked: AskedPrecision, device: torch.device) -> Precision:
    """`asked`, or bfloat16 where the device multiplies it, for `auto` only if it is a GPU; else float32."""
    if asked == "float32" or asked == "bfloat16":
        return asked
    suits = device.type == "cuda" or asked == "native"
    return "bfloat16" if suits and multiplies_bfloat16(device) else "float32"


def use_tensor_cores(device: torch.device) -> None:
    """Lets a GPU multiply float32 matrices as TF32, for the rest of this process."""
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")


def emulation(precision: str, device: torch.device) -> str | None:
    """A warning for a precision that this device emulates; None if it does not."""
    if precision != "bfloat16" or multiplies_bfloat16(device):
        return None
    lacks = "a capability of 8.0" if device.type == "cuda" else "avx512_bf16 or amx"
    return f"bfloat16 is emulated here, as this {device.type} lacks {lacks}: it takes many times as long as float32"
