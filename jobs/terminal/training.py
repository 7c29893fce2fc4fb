"""What a training run tells on the terminal: its config, its progress, how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from jobs.terminal.progress import console, stage
from trainer.config import TrainConfig

Line = dict[str, Any]


def tell_config(config: TrainConfig) -> None:
    """Every option with its value, part by part; those that are not the default stand out."""
    usual = TrainConfig().to_dict()
    for part, options in config.to_dict().items():
        words = [
            f"{name} = {value}" if value == usual[part][name] else f"[bold]{name} = {value}[/bold]"
            for name, value in options.items()
        ]
        console.print(f"  [{part}] {', '.join(words)}".replace(f"[{part}]", rf"\[{part}]"), style="dim", soft_wrap=True)


@contextmanager
def training_bar() -> Iterator[Callable[[Line], None]]:
    """A bar that is told the lines of metrics.jsonl as they are written; it shows how long the rest will take."""
    with stage("training") as bar:

        def told(line: Line) -> None:
            bar.at(line["step"], line["steps"], f"loss {line['loss']:.3f}  {line['clicks_per_second']:.0f} clicks/s")

        yield told


def tell_stopped(step: int, steps: int) -> None:
    """The run was asked to stop, and did."""
    console.print(f"  stopped and saved after step {step} of {steps}; the same command with --resume auto goes on")
