"""Benchmark: clicks per second, items encoded and AUC over seeds for each step of the chain of speed-ups."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from jobs.bench.trials import Trial, compare_auc
from jobs.cli.command_line import run
from schemas.errors import InputError
from trainer.encode.policies import Policy


class Arm(NamedTuple):
    """A training run: full texts or refined segments, the policy, and further options."""

    data: Literal["full", "refined"]
    policy: Policy
    options: tuple[str, ...] = ()


ARMS = {
    "naive_per_target": Arm("full", "naive_per_target"),
    "naive": Arm("full", "naive"),
    "once": Arm("full", "once"),
    "cached": Arm("full", "cached"),
    "once_refined": Arm("refined", "once"),
    "cached_refined": Arm("refined", "cached"),
    "cached_refined_bus": Arm("refined", "cached", ("--encoder.bus",)),
    "accumulated": Arm("refined", "accumulated"),
    "carried": Arm("refined", "carried"),
}
_ALL = tuple(ARMS)


def chain(
    *,
    full: Path,
    out: Path,
    preset: Path,
    refined: Path | None = None,
    arms: tuple[str, ...] = _ALL,
    seeds: int = 3,
    epochs: int = 1,
    truth: Path | None = None,
) -> dict[str, Any]:
    """Train each arm on the same clicks with each seed, and evaluate all on the same impressions.

    Parameters
    ----------
    full
        Packed directory with full texts.
    out
        Folder for the runs; existing complete runs are not repeated.
    preset
        TOML of the training.
    refined
        Packed directory of the same trajectories with refined segments; without it, all arms use full texts.
    arms
        Arms to train, in order; the others are compared with the first.
    seeds
        Number of training seeds: 1, 2, and so on.
    epochs
        Passes over the clicks.
    truth
        Parquet with the probabilities that drew the clicks (synthetic data only).
    """
    unknown = set(arms) - set(ARMS)
    if unknown or not arms:
        raise InputError(f"--arms names {sorted(unknown)}: use {', '.join(ARMS)}")
    trial = Trial(out=out, preset=preset, seeds=seeds, truth=truth)
    found: dict[str, dict[str, Any]] = {}
    for name in arms:
        arm = ARMS[name]
        packed = full if arm.data == "full" or refined is None else refined
        runs = trial.trained(name, packed, ["--planner.policy", arm.policy, "--run.epochs", epochs, *arm.options])
        found[name] = {
            "auc": [each["auc"] for each in runs],
            "clicks_per_second": [each["clicks_per_second"] for each in runs],
            "targets": [each["targets"] for each in runs],
            "encoded_per_1000_clicks": round(1000 * median(each["encoded"] / each["targets"] for each in runs), 1),
            "drift": [each.get("drift_looked_up") for each in runs],
        }
    return _report(found, arms[0])


def _report(found: dict[str, dict[str, Any]], first: str) -> dict[str, Any]:
    table = Table("arm", title="The chain of speed-ups, over the same clicks")
    for name in ("clicks/s", "speed-up", "encoded per 1,000 clicks", "AUC", "AUC less the first (± deviation)"):
        table.add_column(name, justify="right")
    slowest = median(found[first]["clicks_per_second"])
    for name, figures in found.items():
        speed = median(figures["clicks_per_second"])
        figures |= compare_auc(figures["auc"], found[first]["auc"]) | {"speed_up": round(speed / slowest, 2)}
        table.add_row(
            name,
            f"{speed:,.1f}",
            f"{speed / slowest:.1f}",
            f"{figures['encoded_per_1000_clicks']:,.0f}",
            f"{figures['auc_mean']:.4f}",
            f"{figures['auc_minus_first']:+.4f} ± {figures['auc_minus_first_spread']:.4f}",
        )
    Console(highlight=False).print(table)
    return {"compared_with": first, "arms": found}


if __name__ == "__main__":
    raise SystemExit(run(chain))
