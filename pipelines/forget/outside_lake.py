"""Finds what was made of forgotten users' rows outside of the lake and in its table of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyspark.sql import functions as F

from pipelines.forget.holdings import Holding, Past, past_of
from pipelines.forget.packed import Repack, holding_users, manifest_sums, packed_below, packed_in
from pipelines.forget.runs import holdings_below
from pipelines.lake.suppression import suppressed_in
from pipelines.lake.tables import Lake
from schemas.embedding import EMBEDDINGS
from schemas.erasure import ERASURES
from schemas.storage.place import Place


def find_holdings(
    lake: Lake, packed: Sequence[Place], runs: Sequence[Place], repack: Repack | None = None
) -> list[Holding]:
    """What holds users whom the lake has forgotten, or was made of their rows: the table's vectors, and files below
    these folders. Small files are rewritten, packed directories where `repack` is given; all others are only reported.

    InputError where one of `packed` contains no packed directory.
    """
    folders = [folder for each in packed for folder in packed_below(each)]
    folders += [folder for each in runs for folder in packed_in(each) if folder not in folders]
    who = suppressed_in(lake)
    if who is None:
        return []
    past = past_of(lake, who)
    sums = manifest_sums(folders)
    found = list(holding_users(folders, past, repack))
    theirs = {holding.path for holding in found}
    held = {sha256: folder for sha256, folder in sums.items() if str(folder) in theirs}
    for each in runs:
        found += holdings_below(each, past, held)
    return [*_vectors(lake, past), *found]


def _vectors(lake: Lake, past: Past) -> Iterator[Holding]:
    """Vectors of EMBEDDINGS that are older than an erasure: their checkpoint may have been trained on its users."""
    if not (past.held and lake.exists(EMBEDDINGS)):
        return
    last = lake.read(ERASURES).where("rows_erased > 0").agg(F.max("erased_at").alias("last"))
    older = lake.read(EMBEDDINGS).join(last, F.col("made_at") < F.col("last"), how="inner")
    for row in older.select("source", "checkpoint").distinct().orderBy("source", "checkpoint").collect():
        reason = f"vectors of {row['source']} by {row['checkpoint']}, from before rows were erased: export anew"
        yield Holding(path=lake.path(EMBEDDINGS), kind="table", reason=reason)
