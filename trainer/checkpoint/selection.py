"""What chose a checkpoint; without the libraries that evaluation needs, for every run that goes on reads it."""

from __future__ import annotations

from trainer.checkpoint.files import Checkpoint, of_checkpoint
from trainer.data.validation import Choice


def choices_of(saved: Checkpoint) -> list[Choice] | None:
    """The impressions that chose a checkpoint, or one that it began from; None where an older feedloop chose it by all
    evaluation impressions of its directory."""
    with of_checkpoint(saved.path):
        kept = saved.state.get("keeping", {})
        if kept.get("best") and "chosen_by" not in kept:
            return None
        return [Choice(**choice) for choice in kept.get("chosen_by", [])]
