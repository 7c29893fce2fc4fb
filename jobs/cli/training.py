"""What a training run tells on the terminal: its config, its progress, how to go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.table import Table as Screen

from jobs.cli.progress import console, seconds_of_stages, stage
from jobs.page.about import keep_about
from jobs.page.facts import Places
from jobs.page.page import PAGE, write_page
from jobs.tracking.step_profile import Profiled
from pipelines.lake.locks import locked
from schemas.errors import InputError
from schemas.space import space_for
from schemas.storage.place import Place
from trainer.checkpoint.resolve import found_checkpoint
from trainer.checkpoint.working_folder import Working
from trainer.config import TrainConfig
from trainer.cost.flops import device_name
from trainer.cost.precision import emulation
from trainer.data.directory import Packed
from trainer.loop.session import TrainingSession
from trainer.loop.trainer import Trainer
from trainer.loop.warm_start import begin_from
from trainer.ranks.process_group import Ranks, leader_first
from trainer.setup.prepare import DeviceName, Prepared, device_of, prepare, short_superblocks
from trainer.setup.principal_start import start_projection

Line = dict[str, Any]

_OTHER_PRECISION = (
    "Begin with --run.precision auto or float32; --init-from CHECKPOINT begins with the weights of a run in bfloat16"
)


def tell_config(config: TrainConfig) -> None:
    """Every option with its value, part by part; those that are not the default stand out."""
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
    """Tell the config, then prepare an untrained model with a bar, the leader first, and tell what could be packed
    better."""
    tell_config(config)
    if told := emulation(config.run.precision, device_of(device)):
        console.print(f"  {told}. {_OTHER_PRECISION}", style="yellow", markup=False, soft_wrap=True)
    with leader_first(ranks), stage("frozen layers, once per news") as bar:
        prepared = prepare(config, data, store=store, device=device_of(device), progress=bar.more)
        start_projection(prepared)
    if hint := short_superblocks(prepared):
        console.print(f"  {hint}", style="yellow")
    return prepared


@contextmanager
def training_bar() -> Iterator[Callable[[Line], None]]:
    """A bar that is told the lines of metrics.jsonl as they are written; it shows how long the rest will take."""
    with stage("training") as bar:

        def told(line: Line) -> None:
            bar.at(line["step"], line["steps"], f"loss {line['loss']:.3f}  {line['clicks_per_second']:.0f} clicks/s")

        yield told


def one_speaks(ranks: Ranks) -> None:
    """Of several processes only the leader tells what is going on."""
    console.quiet = console.quiet or not ranks.leads


@contextmanager
def run_folder(out: Path, trainer: Trainer) -> Iterator[None]:
    """Inside, `out` is this run's alone."""
    if not trainer.ranks.leads:
        yield
        return
    out.mkdir(parents=True, exist_ok=True)
    with locked(str(out), "train", what="run"):
        yield


def write_config(at: Working, trainer: Trainer) -> None:
    """The config, all of it, beside what the run writes; from now on the run holds the place."""
    file = at.folder / "config.json"
    if trainer.ranks.leads:
        with space_for(file):
            file.write_text(json.dumps(trainer.config.to_dict(), indent=1) + "\n")
    at.config_written()


def started(prepared: Prepared, init_from: Place | None) -> dict[str, Any]:
    """Begin with an earlier run's checkpoint, if one is named, and tell it; what `begin_from` found."""
    if init_from is None:
        return {}
    with found_checkpoint(init_from) as named:
        found = {**begin_from(prepared, named.given), "path": str(named.place)}
    console.print(
        f"  begins with {found['path']}; since then {found['new']:,} new items, {found['changed']:,} with other tokens"
    )
    return found


def resumed(keeping: TrainingSession, trainer: Trainer, at: Working) -> Path | None:
    """Put the run to where its newest intact checkpoint stood, and tell what is not as it was."""
    path = keeping.resume()
    for why in keeping.passed_over:
        console.print(f"  passed over: {at.with_place(why)}", style="yellow", markup=False, soft_wrap=True)
    if trainer.changed:
        told = "; ".join(trainer.changed)
        console.print(f"  goes on after step {trainer.step}, though {told}", markup=False, soft_wrap=True)
    if any(change.startswith("run.epochs ") for change in trainer.changed):
        console.print(f"  {trainer.optimiser.schedule.explained()}", markup=False, soft_wrap=True)
    if keeping.choice is not None:
        told = f"{keeping.choice.impressions:,} evaluation impressions choose the checkpoint ({keeping.choice.rule})"
        console.print(f"  {told}; evaluate reports the others", markup=False, soft_wrap=True)
    if keeping.ended_early:
        told = "the run had ended early: raise run.early_stop_epochs to go on, or set it to 0"
        console.print(f"  {told}", style="yellow", markup=False, soft_wrap=True)
    return path


def tell_stopped(step: int, steps: int) -> None:
    """The run was asked to stop, and did."""
    console.print(f"  stopped and saved after step {step} of {steps}; the same command with --resume auto goes on")


def tell_profile(found: Profiled) -> None:
    """The operators in which the profiled steps spent most time, and where their trace is."""
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
    """Keep where and with what the run was made, and write its page: the last thing that a training does.

    What hinders the page is told, and the run is complete all the same.
    """
    if dry_run or not trainer.ranks.leads:
        return
    computed = {"device": device_name(trainer.device), "precision": trainer.config.run.precision}
    told = {"data": str(data), **computed, "defaults": TrainConfig().to_dict()}
    try:
        keep_about(at.folder, {**told, "stages": seconds_of_stages})
        page = at.with_place(write_page(Places(run=at.folder, named=at.place), at.folder / PAGE)["page"])
    except (InputError, OSError) as error:
        console.print(
            f"  no page of this run: {at.with_place(str(error))}", style="yellow", markup=False, soft_wrap=True
        )
    else:
        console.print(f"  page of this run: {page}", markup=False, soft_wrap=True)
