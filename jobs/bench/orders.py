"""Benchmark: what the order of packing costs or wins: AUC over seeds, items encoded, clicks per second of training."""

from __future__ import annotations

import json
import shutil
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jobs.config import run
from jobs.terminal.child import run_child
from jobs.terminal.progress import console, stage
from pipelines.packing.orders import ORDERS
from schemas.errors import InputError

_ARMS = ("random", "time", "shp", "shp_balanced", "shp_kway", "shp_balanced+0.25")


class Arm(NamedTuple):
    """An order, and the share of trajectories placed at random; written `shp_balanced+0.25`."""

    order: str
    mixing: str

    @classmethod
    def of(cls, text: str) -> Arm:
        """InputError unless it names an order and a share."""
        order, _, mixing = text.partition("+")
        if order not in ORDERS:
            raise InputError(f"--arms names {order!r}: use {', '.join(ORDERS)}, with +0.25 for a mixing of 0.25")
        return cls(order, mixing or "0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What all arms have in common."""

    lake: str
    out: Path
    preset: Path
    source: str
    seeds: int
    truth: Path | None


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
    """Pack by each order, train with each seed on the same clicks, and judge on the same impressions.

    Parameters
    ----------
    lake
        Folder of the Delta tables, with trajectories.
    out
        Folder for packed directories and runs; complete runs that are there already are not made again.
    preset
        TOML of the training.
    source
        Which publisher's trajectories.
    arms
        Orders, each with +SHARE if trajectories are to be mixed.
    seeds
        Seeds of training, from 1 on.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    """
    trial = Trial(lake=lake, out=out, preset=preset, source=source, seeds=seeds, truth=truth)
    found = {text: _figures(arm, trial) for text, arm in {text: Arm.of(text) for text in arms}.items()}
    first = found[arms[0]]["auc"]
    for figures in found.values():
        differences = [mine - theirs for mine, theirs in zip(figures["auc"], first, strict=True)]
        figures["auc_mean"] = round(statistics.mean(figures["auc"]), 4)
        figures["auc_minus_first"] = round(statistics.mean(differences), 4)
        figures["auc_minus_first_spread"] = round(statistics.stdev(differences), 4) if seeds > 1 else 0.0
    return {"seeds": seeds, "compared_with": arms[0], "arms": found}


def _figures(arm: Arm, trial: Trial) -> dict[str, Any]:
    name = f"{arm.order}+{arm.mixing}"
    packed = trial.out / name
    with stage(f"packing {name}"):
        options = ["--lake", trial.lake, "--source", trial.source, "--order", arm.order, "--mixing", arm.mixing]
        counts = run_child("jobs.pack", [*options, "--out", packed])
    runs = [_trained(packed, trial.out / f"{name}-{seed}", seed, trial) for seed in range(1, trial.seeds + 1)]
    figures = {
        "auc": [each["auc"] for each in runs],
        "encoded": [each["encoded"] for each in runs],
        "clicks_per_second": [each["clicks_per_second"] for each in runs],
        "distinct_items_per_epoch": counts["distinct_items_per_epoch"],
        "batches": counts["batches"],
    }
    console.print(f"{name:20} AUC {figures['auc']}  encoded {figures['encoded']}")
    return figures


def _trained(packed: Path, out: Path, seed: int, trial: Trial) -> dict[str, Any]:
    kept = out.with_name(f"{out.name}.json")  # written when a run is complete: a broken benchmark goes on
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    shutil.rmtree(out, ignore_errors=True)
    options: list[object] = ["--data", packed, "--store", trial.out / "store"]
    trained = run_child("jobs.train", [*options, "--out", out, "--config", trial.preset, "--run.seed", seed])
    oracle = [] if trial.truth is None else ["--truth", trial.truth]
    judged = run_child("jobs.evaluate", [*options, "--checkpoint", trained["checkpoint"], *oracle])
    figures = {"auc": judged["model"]["auc"]} | {name: trained[name] for name in ("encoded", "clicks_per_second")}
    kept.write_text(json.dumps(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(run(orders))
