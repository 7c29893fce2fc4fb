"""Benchmark: effect of the packing order on AUC over seeds, items encoded, and clicks per second of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from jobs.bench.trials import Trial, compare_auc
from jobs.cli.child import run_child
from jobs.cli.command_line import run
from jobs.cli.progress import console, stage
from pipelines.packing.orders import ORDERS
from schemas.errors import InputError

_ARMS = ("random", "time", "shp", "shp_balanced", "shp_kway", "shp_balanced+0.25")


class Arm(NamedTuple):
    """An order, and the share of trajectories placed at random; written `shp_balanced+0.25`."""

    order: str
    mixing: str

    @classmethod
    def of(cls, text: str) -> Arm:
        """Parse `text`; InputError unless it names a known order."""
        order, _, mixing = text.partition("+")
        if order not in ORDERS:
            raise InputError(f"--arms names {order!r}: use {', '.join(ORDERS)}, with +0.25 for a mixing of 0.25")
        return cls(order, mixing or "0")


def orders(
    *,
    lake: str,
    out: Path,
    preset: Path,
    source: str = "publisher",
    arms: tuple[str, ...] = _ARMS,
    seeds: int = 3,
    truth: Path | None = None,
) -> dict[str, Any]:
    """Pack by each order, train with each seed on the same clicks, and evaluate on the same impressions.

    Parameters
    ----------
    lake
        Folder of the Delta tables, with trajectories.
    out
        Folder for packed directories and runs; existing complete runs are not repeated.
    preset
        TOML of the training.
    source
        The publisher whose trajectories are packed.
    arms
        Orders; add +SHARE to one to place that share of its trajectories at random.
    seeds
        Number of training seeds: 1, 2, and so on.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    """
    trial = Trial(out=out, preset=preset, seeds=seeds, truth=truth)
    where = ["--lake", lake, "--source", source]
    found = {text: _figures(arm, where, trial) for text, arm in {text: Arm.of(text) for text in arms}.items()}
    first = found[arms[0]]["auc"]
    for figures in found.values():
        figures |= compare_auc(figures["auc"], first)
    return {"seeds": seeds, "compared_with": arms[0], "arms": found}


def _figures(arm: Arm, where: list[str], trial: Trial) -> dict[str, Any]:
    name = f"{arm.order}+{arm.mixing}"
    packed = trial.out / name
    with stage(f"packing {name}"):
        counts = run_child("jobs.pack", [*where, "--order", arm.order, "--mixing", arm.mixing, "--out", packed])
    runs = trial.trained(name, packed)
    figures = {
        **{key: [each[key] for each in runs] for key in ("auc", "encoded", "clicks_per_second")},
        "distinct_items_per_epoch": counts["distinct_items_per_epoch"],
        "batches": counts["batches"],
    }
    console.print(f"{name:20} AUC {figures['auc']}  encoded {figures['encoded']}")
    return figures


if __name__ == "__main__":
    raise SystemExit(run(orders))
