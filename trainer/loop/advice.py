"""Advice in error messages: the options to lower where memory does not suffice or a number is not finite."""

from __future__ import annotations

from trainer.config import TrainConfig


def memory_advice(config: TrainConfig) -> str:
    """What to lower if memory does not suffice; `--resume auto` accepts all but the last, which makes another run."""
    sizes = list(config.planner.chunk_sizes or ())
    kept = "all" if config.run.kept_chunks is None else config.run.kept_chunks
    return (
        f"Resume with --resume auto and a lower run.kept_chunks (now {kept}; 0 keeps no graph and costs a third more "
        f"work), which --run.auto-chunk finds by itself, or a lower planner.chunk_sizes (now {sizes}); or start again, "
        f"in another --out, with a lower run.batches_per_step "
        f"(now {config.run.batches_per_step}), with --init-from if there is a checkpoint"
    )


DRIFT_ADVICE = "Resume with --resume auto and run.drift_every_steps = 0, which skips that measurement"


def rate_advice(config: TrainConfig) -> str:
    """What to lower where a loss or a gradient is not finite."""
    names = ("encoder_learning_rate", "learning_rate", "pooling_learning_rate")
    rates = {name: getattr(config.optimiser, name) for name in names}
    lower = ", ".join(f"optimiser.{name} (now {rate:g})" for name, rate in rates.items() if rate)
    return f"Resume with --resume auto and a lower {lower}, or look at the batch."
