"""Reads which impressions chose a checkpoint; without evaluation's libraries, as every resumed run imports it."""

from __future__ import annotations

from trainer.checkpoint.files import Checkpoint, checkpoint_errors
from trainer.data.validation import Choice


def choices_of(saved: Checkpoint) -> list[Choice] | None:
    """The impressions that chose a checkpoint, or one that it started from; None if an older feedloop chose it by all
    evaluation impressions of its directory."""
    with checkpoint_errors(saved.path):
        kept = saved.state.get("keeping", {})
        if kept.get("best") and "chosen_by" not in kept:
            return None
        return [Choice(**choice) for choice in kept.get("chosen_by", [])]
