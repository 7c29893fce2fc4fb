"""Writes a run's metrics as TensorBoard event files below the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import InputError

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:  # torch has the writer, but not the package that it needs
    MISSING: ImportError | None = error
else:
    MISSING = None

FOLDER = "tensorboard"
_GROUPS = {
    "quality": ("loss", "auc"),
    "speed": (
        "clicks_per_second", "tokens_per_second", "computed_tokens_per_second", "data_wait_share", "hardware_mfu",
        "useful_mfu",
    ),
    "encoding": (
        "padding_share", "encoded_per_1000_clicks", "cache_age_mean", "cache_age_p90", "drift_looked_up",
        "drift_encoded",
    ),
    "optimiser": ("learning_rate_factor", "gradient_norm_encoder", "gradient_norm_head"),
}  # fmt: skip
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}


def check() -> None:
    """InputError if tensorboard is not installed."""
    if MISSING is not None:
        raise InputError(
            "run.tensorboard is on, and tensorboard is not installed: uv pip install -r requirements/train.txt, or "
            "add --run.no-tensorboard"
        ) from MISSING


class Curves:
    """Writes a scalar for each number of a line, and a histogram of the ages of looked-up vectors."""

    def __init__(self, out: Path, *, step: int) -> None:
        """`step`: the step from which the run starts or resumes. Later points of an earlier attempt are hidden."""
        self._writer = SummaryWriter(str(out / FOLDER), purge_step=step + 1)

    def line(self, line: dict[str, Any]) -> None:
        """Write and flush a line of metrics.jsonl, so that it is on disk before the next checkpoint."""
        step = line["step"]
        for name, value in line.items():
            if name not in {"step", "steps"} and isinstance(value, int | float):
                tag = f"{_GROUP_OF.get(name, 'sums')}/{name}"
                self._writer.add_scalar(tag, value, step)
        self._ages(line["looked_up_by_age"], step)
        self._writer.flush()

    def evaluated(self, step: int, auc: float) -> None:
        """Write an epoch's AUC."""
        self._writer.add_scalar("quality/auc", auc, step)
        self._writer.flush()

    def end(self, status: str) -> None:
        """Close the event file."""
        self._writer.close()

    def _ages(self, looked_up_by_age: list[int], step: int) -> None:
        ages = np.flatnonzero(looked_up_by_age)
        if not len(ages):
            return
        counts = np.asarray(looked_up_by_age)[ages[0] : ages[-1] + 1]
        age = np.arange(ages[0], ages[-1] + 1)
        self._writer.add_histogram_raw(
            "encoding/cache_age",
            min=int(age[0]),
            max=int(age[-1]),
            num=int(counts.sum()),
            sum=int((age * counts).sum()),
            sum_squares=int((age**2 * counts).sum()),
            bucket_limits=(age + 0.5).tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )
