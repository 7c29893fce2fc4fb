"""Prints a training run's config, progress and how to resume it; prepares, starts and resumes the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.table import Table as Screen

from jobs.cli.progress import console, seconds_of_stages, stage
from jobs.page.about import write_about
from jobs.page.facts import Places
from jobs.page.page import PAGE, write_page
from jobs.tracking.step_profile import Profiled
from pipelines.lake.locks import locked
from schemas.errors import InputError
from schemas.space import space_for
from schemas.storage.place import Place
from trainer.checkpoint.resolve import found_checkpoint
from trainer.checkpoint.retention import Checkpoints
from trainer.checkpoint.working_folder import Working
from trainer.config import TrainConfig
from trainer.cost.flops import device_name
from trainer.cost.precision import emulation
from trainer.data.directory import Packed
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.loop.warm_start import WarmStart, begin_from
from trainer.ranks.process_group import Ranks
from trainer.setup.automatic import DeviceName, device_of
from trainer.setup.prepare import Prepared, prepare, short_superblocks
from trainer.setup.principal_start import start_projection

Line = dict[str, Any]

_OTHER_PRECISION = (
    "Begin with --run.precision auto or float32; --init-from CHECKPOINT begins with the weights of a run in bfloat16"
)


def print_config(config: TrainConfig) -> None:
    """Print every option with its value, part by part; those that differ from the default are bold."""
    usual = TrainConfig().to_dict()
    for part, options in config.to_dict().items():
        words = [
            f"{name} = {value}" if value == usual[part][name] else f"[bold]{name} = {value}[/bold]"
            for name, value in options.items()
        ]
        console.print(f"  [{part}] {', '.join(words)}".replace(f"[{part}]", rf"\[{part}]"), style="dim", soft_wrap=True)


def prepare_with_progress(
    config: TrainConfig, data: Packed, ranks: Ranks, *, store: Path | None, device: DeviceName
) -> Prepared:
    """Print the config, prepare an untrained model with a bar, and print how to pack better."""
    print_config(config)
    if warning := emulation(config.run.precision, device_of(device)):
        console.print(f"  {warning}. {_OTHER_PRECISION}", style="yellow", markup=False, soft_wrap=True)
    with stage("frozen layers, once per news") as bar:
        prepared = prepare(config, data, store=store, device=device_of(device), progress=bar.more, ranks=ranks)
    if hint := short_superblocks(prepared):
        console.print(f"  {hint}", style="yellow")
    return prepared


@contextmanager
def training_bar() -> Iterator[Callable[[Line], None]]:
    """Inside, a function that shows each new line of metrics.jsonl on a bar, with the time left."""
    with stage("training") as bar:

        def show(line: Line) -> None:
            bar.at(line["step"], line["steps"], f"loss {line['loss']:.3f}  {line['clicks_per_second']:.0f} clicks/s")

        yield show


def quiet_unless_leader(ranks: Ranks) -> None:
    """Of several processes only the leader prints."""
    console.quiet = console.quiet or not ranks.leads


@contextmanager
def run_folder(out: Path, trainer: Trainer) -> Iterator[None]:
    """Inside, `out` is locked for this run."""
    if not trainer.ranks.leads:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with locked(str(out), "train", what="run"):
        yield


def write_config(at: Working, trainer: Trainer) -> None:
    """Write the complete config to the run's folder; from now on the folder belongs to the run."""
    file = at.folder / "config.json"
    if trainer.ranks.leads:
        with space_for(file):
            file.write_text(json.dumps(trainer.config.to_dict(), indent=1) + "\n")
    at.config_written()


def load_initial_weights(prepared: Prepared, init_from: Place | None, begun: Path | None) -> WarmStart | None:
    """Load the weights of an earlier run's checkpoint and print what else the run takes over, which is the result; if
    none is named, start the projection as `encoder.projection_start` says. Nothing of both where the run resumes from
    a checkpoint in the folder `begun`, which replaces all of it."""
    if begun is not None and Checkpoints(begun, keep=1).newest() is not None:
        return None
    if init_from is None:
        start_projection(prepared)
        return None
    with found_checkpoint(init_from) as named:
        warm = replace(begin_from(prepared, named.given), path=str(named.place))
    since = f"since then {warm.new:,} new items, {warm.changed:,} with other tokens"
    taken = f"counts steps on from {warm.first_step:,} and looks up {len(warm.row_R):,} of its vectors"
    console.print(f"  begins with {warm.path}; {since}; {taken}", markup=False, soft_wrap=True)
    return warm


def resume_run(session: TrainingSession, trainer: Trainer, at: Working) -> Path | None:
    """Restore the run's newest intact checkpoint, and print what has changed since."""
    path = session.resume()
    for why in session.passed_over:
        console.print(f"  passed over: {at.with_place(why)}", style="yellow", markup=False, soft_wrap=True)
    if trainer.changed:
        changes = "; ".join(trainer.changed)
        console.print(f"  resumes after step {trainer.step}, though {changes}", markup=False, soft_wrap=True)
    if any(change.startswith("run.epochs ") for change in trainer.changed):
        console.print(f"  {trainer.optimiser.schedule.explained()}", markup=False, soft_wrap=True)
    if session.choice is not None:
        rule = f"{session.choice.impressions:,} evaluation impressions choose the checkpoint ({session.choice.rule})"
        console.print(f"  {rule}; evaluate reports the others", markup=False, soft_wrap=True)
    if session.ended_early:
        advice = "the run had ended early: raise run.early_stop_epochs to resume it, or set it to 0"
        console.print(f"  {advice}", style="yellow", markup=False, soft_wrap=True)
    return path


def print_stopped(step: int, steps: int) -> None:
    """Print that the run has stopped as requested."""
    console.print(f"  stopped and saved after step {step} of {steps}; the same command with --resume auto resumes it")


def print_profile(found: Profiled) -> None:
    """Print the operators in which the profiled steps spent most time, and the path of their trace."""
    screen = Screen("operator", title=f"Profile of {found.steps} steps: own time of each operator")
    on_device = any(operator.device_seconds for operator in found.operators)
    for name in ("calls", "CPU ms", *(["device ms"] if on_device else [])):
        screen.add_column(name, justify="right")
    for operator in found.operators:
        times = [operator.cpu_seconds, *([operator.device_seconds] if on_device else [])]
        screen.add_row(operator.name, f"{operator.calls:,}", *(f"{1000 * seconds:,.1f}" for seconds in times))
    console.print(screen)
    console.print(f"  trace, for chrome://tracing or Perfetto: {found.trace}")


def write_report(at: Working, data: Place, trainer: Trainer, *, dry_run: bool) -> None:
    """Record where and with what the run was made, and write its page: the last thing that a training does.

    An error in the page is printed; the run is complete all the same.
    """
    if dry_run or not trainer.ranks.leads:
        return
    computed = {"device": device_name(trainer.device), "precision": trainer.config.run.precision}
    about = {"data": str(data), **computed, "defaults": TrainConfig().to_dict()}
    try:
        write_about(at.folder, {**about, "stages": seconds_of_stages})
        page = at.with_place(write_page(Places(run=at.folder, named=at.place), at.folder / PAGE)["page"])
    except (InputError, OSError) as error:
        console.print(
            f"  no page of this run: {at.with_place(str(error))}", style="yellow", markup=False, soft_wrap=True
        )
    else:
        console.print(f"  page of this run: {page}", markup=False, soft_wrap=True)
