"""Benchmark: the encoder's forward and backward in chunks, with MFU. Needs only torch, transformers and numpy."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from jobs.bench.plain_options import run_plain, warn_if_emulated
from trainer.cost.encoder_speed import SpeedConfig, encoder_speed
from trainer.cost.flops import device_name, peak_flops
from trainer.setup.automatic import DeviceName, device_of


def encoder(config: SpeedConfig, where: DeviceName) -> dict[str, Any]:
    """Measure full segments, padded titles, and titles that share rows; print a table and return the figures.

    The figures so far are printed after each load, so that a run that is cut off has those of the loads before.
    """
    device = device_of(where)
    warn_if_emulated(where, "bfloat16" if config.bfloat16 else "float32", otherwise="--no-bfloat16")
    peak = peak_flops(device, bfloat16=config.bfloat16)
    found: dict[str, Any] = {"config": asdict(config), "device": device_name(device), "peak_flops": peak}
    for load, figures in encoder_speed(config, device):
        found[load] = figures
        print(_line(load, figures))
        print(json.dumps(found), flush=True)
    return found


def _line(load: str, figures: dict[str, Any]) -> str:
    if "left_out" in figures:
        return f"{load:10} left out: {figures['left_out']}"
    return (
        f"{load:10} {figures['seconds'] * 1e3:9.1f} ms  {figures['segments_per_second']:10,.0f} segments/s  "
        f"MFU {figures['hardware_mfu']:.1%} hardware, {figures['useful_mfu']:.1%} useful  "
        f"{figures['peak_bytes'] / 1e6:8,.0f} MB"
    )


if __name__ == "__main__":
    raise SystemExit(run_plain("encoder", __doc__, SpeedConfig, encoder))
