"""Packs trajectories, evaluation impressions and item tokens of the lake into one immutable directory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from pipelines.engine.scratch import Keep, scratch
from pipelines.lake.notes import TrajectoriesNote, noted_sources, read_note
from pipelines.lake.tables import Lake
from pipelines.packing import tasks
from pipelines.packing.batches import pack_batches
from pipelines.packing.build_folder import find_manifest, open_build, remove_other_builds, work_folder
from pipelines.packing.config import PackingConfig
from pipelines.packing.item_use import Piece, sum_pieces, write_item_use
from pipelines.packing.petastorm_schema import write_schema
from pipelines.packing.shared_output import check_reached
from pipelines.packing.token_files import pack_tokens
from pipelines.packing.write import now
from schemas.errors import InputError
from schemas.manifest import FileEntry, Manifest, Tokens
from schemas.news import ITEM_TOKENS
from schemas.packed_batch import FORMAT_VERSION
from schemas.storage.place import Place
from schemas.trajectory import EVALUATION, TRAJECTORIES

_TABLES = (TRAJECTORIES, EVALUATION, ITEM_TOKENS)
_EVALUATION_ROWS = 50_000  # maximum impressions of one file: a task holds them in memory
_DECIDED = ("evaluate_from", "split_by", "evaluate_share", "negatives")  # by options or, without them, by the data


def pack(lake: Lake, out: Path | Place, config: PackingConfig, *, instead_of: Manifest | None = None) -> Manifest:
    """Pack into `out` and return the manifest. A directory of the same inputs and config is left unchanged.

    `instead_of`: manifest of the directory that this one replaces; behind a URL it is at `out`.
    """
    out = Place.of(out)
    inputs = {table.name: lake.version(table) for table in _TABLES}
    made = read_note(lake, EVALUATION, f"made_from.{config.source}", TrajectoriesNote)
    if made.get("unfinished"):
        raise InputError(
            f"{lake.root}: build_trajectories was stopped between its two tables of source {config.source!r}. "
            "Run ./feedloop build_trajectories again"
        )
    news = noted_sources(lake).get(config.source, {})
    _check_variants(config, made)
    described = asdict(config) | {
        "table_ids": {table.name: lake.table_id(table) for table in _TABLES},
        "trajectories": made.get("config", {}) | {n: v for n, v in made.get("summary", {}).items() if n in _DECIDED},
        "news": {"near_duplicates": news.get("near_duplicates"), "sources": {config.source: news}},
    }
    inputs = made.get("inputs", {}) | inputs
    if instead_of is not None:
        if described["trajectories"] != instead_of.config.get("trajectories"):
            raise InputError(
                "the lake's trajectories have since been built with other options. Build them with those of the packed "
                "directory, and pack again"
            )
        return _packed(lake, out, config, inputs=inputs, described=described, news=news, instead_of=instead_of)
    there = find_manifest(out)
    if there is not None:
        return _unchanged(there, out, inputs, described)
    try:
        return _packed(lake, out, config, inputs=inputs, described=described, news=news)
    except Exception:
        # Behind a URL another run may have committed first and removed this build.
        there = None if out.is_local else find_manifest(out)
        if there is None:
            raise
        return _unchanged(there, out, inputs, described)


def _packed(
    lake: Lake,
    out: Place,
    config: PackingConfig,
    *,
    inputs: dict[str, int],
    described: dict[str, Any],
    news: dict[str, Any],
    instead_of: Manifest | None = None,
) -> Manifest:
    check_reached(lake.spark, out)
    trajectories, evaluation, items = (lake.read(table, version=inputs[table.name]) for table in _TABLES)
    ours = F.col("source") == config.source
    _check_split(trajectories.where(ours), evaluation.where(ours), config.source)
    kept = None if out.is_local else lake.scratch()
    with open_build(out, instead_of=instead_of) as made:
        frames = trajectories.where(ours), evaluation.where(ours), items
        packed = pack_frames(made.folder, *frames, config=config, news=news, kept=kept)
        manifest = Manifest(
            format_version=FORMAT_VERSION,
            files=packed.files,
            tokens=packed.tokens,
            inputs=inputs,
            config=described,
            counts=packed.counts,
            created_at=now(),
            build=made.name,
        )
        made.commit(manifest)
    return manifest


class Packed(NamedTuple):
    """The contents of a packed directory, as its manifest lists them."""

    files: tuple[FileEntry, ...]
    tokens: Tokens
    counts: dict[str, int]


def pack_frames(
    folder: Place,
    trajectories: DataFrame,
    evaluation: DataFrame,
    items: DataFrame,
    *,
    config: PackingConfig,
    news: dict[str, Any],
    kept: AbstractContextManager[Keep] | None = None,
) -> Packed:
    """Write every file of a packed directory but its manifest. The frames hold one source's rows; `items` holds all.

    `news` is ITEM_TOKENS' note on the source. `kept`: scratch space for frames that are computed once, by default in
    the directory itself.
    """
    with work_folder(folder) as work, kept or scratch(str(work)) as keep:
        tokens, token_files = pack_tokens(folder, items, news, config.source, work=work)
        chosen = trajectories.where(F.coalesce("variant", F.lit(0)) < config.variants)
        batch_files, counts, pieces = pack_batches(folder, chosen, config, work=work, keep=keep)
        written = tasks.write_evaluation(evaluation, folder, rows_per_file=_EVALUATION_ROWS, work=work)
        use = sum_pieces(work, [*pieces, *(Piece(row["use"], None) for row in written)], rows=tokens.rows)
    use_files = write_item_use(folder, use)
    schema_file = write_schema(folder, batch_files)
    evaluation_files = [tasks.entry(row, rows=row["rows"]) for row in written]
    batch_files = sorted(batch_files, key=lambda entry: entry.path)
    counts = counts | {
        "distinct_items": int(use.in_batches_V.sum()),
        "evaluation_impressions": sum(entry.rows for entry in evaluation_files),
    }
    return Packed((*batch_files, schema_file, *token_files, *use_files, *evaluation_files), tokens, counts)


def _check_variants(config: PackingConfig, made: dict[str, Any]) -> None:
    there = made.get("config", {}).get("variants", 1)
    if config.variants > there:
        raise InputError(
            f"variants is {config.variants}, but the trajectories of source {config.source!r} hold {there}. "
            f"Run ./feedloop build_trajectories --variants {config.variants}"
        )


def _unchanged(there: Manifest, out: Place, inputs: dict[str, int], config: dict[str, Any]) -> Manifest:
    before, wanted = there.inputs | there.config, inputs | config
    differing = sorted(name for name in before.keys() | wanted.keys() if before.get(name) != wanted.get(name))
    if differing:
        found = "; ".join(f"{name} was {before.get(name)}, is {wanted.get(name)}" for name in differing)
        raise InputError(
            f"{out}: packed before from other inputs or options ({found}). Name another --out, or remove it"
        )
    if not out.is_local:
        remove_other_builds(out, there)
    return there


def _check_split(trajectories: DataFrame, evaluation: DataFrame, source: str) -> None:
    """InputError unless both sides of the split have rows and no target is after it."""
    sides = trajectories.select(F.lit(0).alias("side"), "time").unionAll(evaluation.select(F.lit(1), "time"))
    shape = "yyyy-MM-dd HH:mm:ss.SSSSSS"  # formatted in UTC by Spark: Python would use this machine's time zone
    ends = (F.date_format(end("time"), shape).alias(name) for name, end in (("first", F.min), ("last", F.max)))
    rows = sides.groupBy("side").agg(*ends).collect()
    found = {row["side"]: row for row in rows}
    if 0 not in found:
        raise InputError(
            f"no trajectories of source {source!r}: before the split, no impression has both a click and unclicked "
            "news. "
            "Ingest logs of an earlier time, or run ./feedloop build_trajectories with a later --evaluate-from"
        )
    if 1 not in found:
        raise InputError(
            f"no evaluation impressions of source {source!r}: none has click marks on or after the split. "
            "Run ./feedloop build_trajectories with an earlier --evaluate-from"
        )
    if found[0]["last"] >= found[1]["first"]:
        raise InputError(
            f"trajectories of source {source!r} reach {found[0]['last']}, and evaluation begins {found[1]['first']}: "
            "the two were made by different runs. Run ./feedloop build_trajectories again"
        )
