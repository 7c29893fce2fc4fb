"""Compatibility: checks that a checkpoint's position and log are such as the resuming run writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from trainer.checkpoint.files import Checkpoint, ResumeError
from trainer.encode.plan import MOST_STEPS
from trainer.loop.staleness import Drift
from trainer.loop.trainer import Trainer


def check_position(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """ResumeError where the position cannot be one of this run."""
    at, step = trainer.position, trainer.step
    state = checkpoint.state
    integers = all(type(state["position"][name]) is int for name in ("epoch", "epoch_step", "step"))
    epochs, total_steps = trainer.config.run.epochs, trainer.total_steps
    inside = 0 <= at.epoch <= epochs and 0 <= at.epoch_step <= step <= total_steps
    inside &= 0 <= at.first_step <= MOST_STEPS - total_steps
    steps = [number for change in state["shortened"] for number in change]
    integers &= all(type(number) is int and number >= 0 for number in steps)
    if not (integers and inside):
        raise ResumeError(f"the checkpoint is damaged: its position {str(state['position'])[:80]} is none of this run")


def check_log(found: Mapping[str, Any], fresh: Mapping[str, Any]) -> None:
    """ResumeError unless the run log's state has the names of a fresh one and numbers where numbers belong.

    Sums that an older feedloop did not count may be missing.
    """
    drift, norms = found["drift"], found.get("norms", {})
    _check_numbers({**found["totals"]}, fresh["totals"], "log.totals")
    _check_numbers({**found["since"]}, fresh["since"], "log.since")
    _check_numbers({**norms, "losses": found["losses"]}, {"losses": [], **{part: [] for part in norms}}, "log")
    last = {name: found[name] for name in ("counts", "last_loss") if (name, found[name]) != ("last_loss", None)}
    _check_numbers(last, {"counts": 0.0, "last_loss": 0.0}, "log")
    if drift is not None:
        _check_numbers(asdict(Drift(**drift)), asdict(Drift(0.0, 0.0)), "log.drift")


def _check_numbers(found: Mapping[str, Any], like: Mapping[str, Any], where: str) -> None:
    for name, value in found.items():
        usual = like.get(name)
        if isinstance(usual, list):
            kind = int if name.endswith("by_age") else float  # ages are summed as 64-bit integers
            fits = isinstance(value, list) and all(_is_number(n, kind, 2.0**62) for n in value)
        else:
            fits = name in like and _is_number(value, type(usual), 1e300)
        if not fits:
            fault = f"{where}.{name} is {repr(value)[:80]}"
            raise ResumeError(f"the checkpoint is damaged: {fault}. Use another one, or train again")


def _is_number(value: Any, kind: type, limit: float) -> bool:
    return type(value) in {int, kind} and not abs(value) >= limit
