"""Prints the contents and the quality figures of a packed directory."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as Screen

from schemas.manifest import Manifest
from trainer.data.description import Description

_ROWS = (  # figure of the summary, its meaning
    ("trajectories", "of all variants together"),
    ("targets", "clicks to be predicted"),
    ("batches", ""),
    ("items_per_batch", "distinct: what a step must encode at most"),
    ("items_spread", "items of the largest batch ÷ mean"),
    ("uses_of_an_item", "clicks and candidates per item encoded, without a cache"),
    ("ratio_to_random", "distinct items ÷ what batches dealt out at random would hold"),
    ("of_batch_before", "share of a batch's items that the batch before held too"),
    ("click_padding", "share of click places that hold none"),
    ("candidate_padding", "share of targets' candidate places that hold none"),
    ("clicks_per_trajectory", ""),
    ("length_spread", "clicks of a batch's longest trajectory ÷ mean of all"),
)


def show_batches(manifest: Manifest, found: Description) -> None:
    """Print where the directory came from, its files, and the figures of its batches."""
    console = Console(highlight=False)
    config, summary = manifest.config, found.summary
    came = ", ".join(f"{table} v{version}" for table, version in sorted(manifest.inputs.items()))
    console.print(f"packed {manifest.created_at} from {came}")
    console.print(
        f"order {config.get('order')}, mixing {config.get('mixing')}, seed {config.get('seed')}; "
        f"tokenizer {manifest.tokens.tokenizer}, {manifest.tokens.rows:,} item rows; "
        f"{len(manifest.files)} files, {sum(entry.bytes for entry in manifest.files) / 1e6:,.1f} MB, each sha256 right"
    )
    screen = Screen("figure", title="Every batch read, all counts as the manifest says")
    screen.add_column("", justify="right")
    screen.add_column("what it is")
    for name, meaning in _ROWS:
        value = summary[name]
        screen.add_row(name, f"{value:,}", meaning)
    console.print(screen)
