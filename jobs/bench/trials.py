"""Trains and evaluates with given seeds in child processes. An interrupted benchmark resumes with the next run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from jobs.cli.child import run_child
from schemas.regular_file import read_bytes
from schemas.strict_json import decoded

_AUC_OF = {"auc": "model", "zero_shot": "zero_shot"}  # name of a trial's figure -> evaluated method


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """Options shared by all arms of a comparison."""

    out: Path
    preset: Path
    seeds: int
    truth: Path | None

    def trained(self, name: str, packed: Path, options: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Train and evaluate with each seed; return AUC and training figures. Existing runs are not repeated."""
        return [self._with_seed(f"{name}-{seed}", packed, options, seed) for seed in range(1, self.seeds + 1)]

    def _with_seed(self, name: str, packed: Path, options: Sequence[object], seed: int) -> dict[str, Any]:
        out, kept = self.out / name, self.out / f"{name}.json"  # the file is written when a run is complete
        if kept.is_file():
            advice = "Remove it: the trial is then repeated"
            return decoded(read_bytes(kept, largest=1 << 24, advice=advice), dict[str, Any], str(kept), advice=advice)
        shutil.rmtree(out, ignore_errors=True)
        common: list[object] = ["--data", packed, "--store", self.out / "store"]
        train = [*common, "--out", out, "--config", self.preset, "--run.seed", seed, *options]
        trained = run_child("jobs.train", train)
        oracle = [] if self.truth is None else ["--truth", self.truth]
        evaluation = run_child("jobs.evaluate", [*common, "--checkpoint", trained["checkpoint"], *oracle])
        figures = {name: evaluation["methods"][method]["auc"] for name, method in _AUC_OF.items()} | trained
        kept.write_text(json.dumps(figures))
        return figures


def compare_auc(mine: Sequence[float], first: Sequence[float]) -> dict[str, float]:
    """Mean AUC, and mean and standard deviation of the differences from the first arm's, seed by seed."""
    differences = [a - b for a, b in zip(mine, first, strict=True)]
    return {
        "auc_mean": round(mean(mine), 4),
        "auc_minus_first": round(mean(differences), 4),
        "auc_minus_first_spread": round(stdev(differences), 4) if len(differences) > 1 else 0.0,
    }
