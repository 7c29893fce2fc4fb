"""Benchmark: the encoder's forward and backward in chunks, with MFU. Needs torch, transformers and numpy alone."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import fields

from trainer.loop.encoder_speed import SpeedConfig, encoder_speed
from trainer.loop.prepare import device_of


def main() -> int:
    """Print a table and, last, one JSON object. The usual command line is not used: its libraries may be missing."""
    parser = argparse.ArgumentParser(prog="python -m jobs.bench.encoder", description=__doc__)
    for field in fields(SpeedConfig):
        name, default = f"--{field.name.replace('_', '-')}", field.default
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(name, type=type(default), default=default)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    given = vars(parser.parse_args())
    try:
        device = device_of(given.pop("device"))
        found = encoder_speed(SpeedConfig(**given), device)
    except ValueError as error:
        print(f"bench encoder: {error}", file=sys.stderr)
        return 2
    for load in ("full", "titles"):
        figures = found[load]
        print(
            f"{load:8} {figures['seconds'] * 1e3:9.1f} ms a chunk  {figures['segments_per_second']:10,.0f} segments/s  "
            f"MFU {figures['hardware_mfu']:.1%} hardware, {figures['useful_mfu']:.1%} useful  "
            f"{figures['peak_bytes'] / 1e6:8,.0f} MB"
        )
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
