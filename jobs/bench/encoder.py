"""Benchmark: the encoder's forward and backward in chunks, with MFU. Needs only torch, transformers and numpy."""

from __future__ import annotations

from typing import Any

from jobs.bench.plain_options import run_plain, warn_if_emulated
from trainer.cost.encoder_speed import SpeedConfig, encoder_speed
from trainer.setup.automatic import DeviceName, device_of


def encoder(config: SpeedConfig, device: DeviceName) -> dict[str, Any]:
    """Measure full segments, padded titles, and titles that share rows; print a table and return the figures."""
    warn_if_emulated(device, bfloat16=config.bfloat16)
    found = encoder_speed(config, device_of(device))
    for load in ("full", "titles", "rows"):
        figures = found[load]
        print(
            f"{load:8} {figures['seconds'] * 1e3:9.1f} ms a chunk  {figures['segments_per_second']:10,.0f} segments/s  "
            f"MFU {figures['hardware_mfu']:.1%} hardware, {figures['useful_mfu']:.1%} useful  "
            f"{figures['peak_bytes'] / 1e6:8,.0f} MB"
        )
    return found


if __name__ == "__main__":
    raise SystemExit(run_plain("encoder", __doc__, SpeedConfig, encoder))
