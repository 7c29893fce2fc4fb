from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from pipelines.lake.tables import Lake
from pipelines.packing.config import OrderName, PackingConfig
from pipelines.packing.flow import pack
from schemas.errors import InputError
from schemas.item_use import DTYPES as ITEM_USE
from schemas.item_use import ItemUse, use_file
from schemas.manifest import Manifest
from schemas.news import ITEM_TOKENS, PAD_ROW
from schemas.token_table import ARRAYS as TOKEN_ARRAYS
from schemas.token_table import TokenTable, file_of
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.pipelines.packing.drawn_lake import ITEMS, USERS, drawn_lake

CONFIG = PackingConfig(source="p", batch_trajectories=4, batch_items=30, shard_trajectories=25)


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return drawn_lake(spark, tmp_path_factory.mktemp("lake"))


def batches_of(out: Path, manifest: Manifest) -> list[dict[str, np.ndarray]]:
    """All batches in packed order, read as plain Parquet."""
    found = []
    for path, group, _ in manifest.superblocks:
        cells = pq.ParquetFile(out / path).read_row_group(group).to_pylist()
        found += [{name: np.lib.format.read_array(BytesIO(cell)) for name, cell in row.items()} for row in cells]
    return found


def test_a_packed_directory_holds_every_trajectory_once(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    manifest = pack(lake, out, CONFIG)
    batches = batches_of(out, manifest)
    assert [int(batch["batch_id"][0]) for batch in batches] == list(range(manifest.counts["batches"]))
    assert len({entry.path for entry in manifest.files if entry.superblocks}) > 1  # several shards
    assert len(manifest.superblocks) >= 8

    found = []
    for batch in batches:
        items, mask = batch["item_row_N"], batch["target_mask_BLK"]
        assert len(batch["click_mask_BL"]) <= CONFIG.batch_trajectories
        assert len(items) <= CONFIG.batch_items
        for b, length in enumerate(batch["click_mask_BL"].sum(axis=1)):
            slots = batch["target_slot_BLK"][b]
            found.append(
                (
                    items[batch["click_slot_BL"][b, :length]].tolist(),
                    [items[slots[at][mask[b, at]]].tolist() for at in range(length)],
                )
            )
    stored = lake.read(TRAJECTORIES).where("source = 'p' AND variant IS NULL").collect()
    assert sorted(found) == sorted((row["click_row"], row["candidate_row"]) for row in stored)

    counts = manifest.counts
    assert counts["trajectories"] == USERS
    assert counts["targets"] == counts["clicks"] == sum(len(row["click_row"]) for row in stored)
    assert counts["item_occurrences"] == 4 * counts["clicks"]
    assert counts["items_per_target_sample"] == sum(3 * len(r["prefix"]) + sum(r["prefix"]) for r in stored)
    assert counts["distinct_items_per_epoch"] == sum(len(batch["item_row_N"]) for batch in batches)
    assert counts["distinct_items"] == len(set(np.concatenate([batch["item_row_N"] for batch in batches]).tolist()))
    assert counts["evaluation_impressions"] == 5
    in_time = pack(lake, tmp_path / "in_time", replace(CONFIG, order="time"))
    assert counts["distinct_items_time_order"] == in_time.counts["distinct_items_per_epoch"]
    assert counts["distinct_items_time_order"] == in_time.counts["distinct_items_time_order"]


@pytest.mark.parametrize("order", ["random", "length", "minhash", "shp", "shp_kway"])
def test_every_order_packs_every_trajectory(lake: Lake, tmp_path: Path, order: OrderName) -> None:
    config = replace(CONFIG, order=order, mixing=0.2, shard_by="items")
    manifest = pack(lake, tmp_path / "packed", config)
    assert (manifest.counts["trajectories"], manifest.config["order"]) == (USERS, order)
    assert sum(len(batch["click_mask_BL"]) for batch in batches_of(tmp_path / "packed", manifest)) == USERS


def test_each_variant_holds_every_trajectory_in_superblocks_of_its_own(lake: Lake, tmp_path: Path) -> None:
    manifest = pack(lake, tmp_path / "packed", replace(CONFIG, variants=2))
    assert (manifest.counts["variants"], manifest.counts["trajectories"]) == (2, 2 * USERS)
    variants = [block.variant for _, _, block in manifest.superblocks]
    assert variants == sorted(variants)
    batches = batches_of(tmp_path / "packed", manifest)
    assert [int(batch["batch_id"][0]) for batch in batches] == list(range(manifest.counts["batches"]))
    widths: dict[int, set[int]] = {0: set(), 1: set()}
    for _, _, block in manifest.superblocks:
        widths[block.variant] |= {batches[number]["target_mask_BLK"].shape[2] for number in block.batches}
    assert widths == {0: {3}, 1: {1}}  # the second was drawn without negatives
    rows = [sum(block.trajectories for _, _, block in manifest.superblocks if block.variant == v) for v in (0, 1)]
    assert rows == [USERS, USERS]


def test_more_variants_than_were_drawn_are_refused(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"variants is 3, .*hold 2. Run ./feedloop build_trajectories --variants 3"):
        pack(lake, tmp_path / "packed", replace(CONFIG, variants=3))


@pytest.mark.parametrize("variants", [1, 2])
def test_what_batches_and_impressions_hold_of_each_item_is_counted(lake: Lake, tmp_path: Path, variants: int) -> None:
    manifest = pack(lake, tmp_path / "packed", replace(CONFIG, variants=variants))
    use = ItemUse(**{name: np.load(tmp_path / "packed" / use_file(name)) for name in ITEM_USE})
    stored = lake.read(TRAJECTORIES).where("source = 'p'").collect()
    clicks = Counter(row for each in stored if not each["variant"] for row in each["click_row"])
    assert use.clicks_V.tolist() == [clicks[row] for row in range(ITEMS + 2)]
    chosen = [each for each in stored if (each["variant"] or 0) < variants]
    held = {row for each in chosen for rows in (each["click_row"], *each["candidate_row"]) for row in rows}
    assert set(np.flatnonzero(use.in_batches_V).tolist()) == held
    assert manifest.counts["distinct_items"] == len(held)
    impressions = lake.read(EVALUATION).where("source = 'p'").collect()
    shown = {row for each in impressions for row in [*each["history_row"], *each["shown_row"]]} - {PAD_ROW}
    assert set(np.flatnonzero(use.in_evaluation_V).tolist()) == shown
    assert {entry.path: entry.rows for entry in manifest.files if entry.path.startswith("rows/")} == {
        use_file(name): ITEMS + 2 for name in ITEM_USE
    }


def test_a_budget_of_tokens_is_kept(lake: Lake, tmp_path: Path) -> None:
    manifest = pack(lake, tmp_path / "packed", replace(CONFIG, batch_trajectories=10, batch_tokens=45))
    found = batches_of(tmp_path / "packed", manifest)
    for batch in found:  # each item has three tokens
        assert 3 * len(batch["item_row_N"]) <= 45 or len(batch["click_mask_BL"]) == 1
    assert manifest.counts["batches"] == len(found) > USERS / 10
    assert manifest.counts["trajectories"] == USERS


def test_tokens_evaluation_and_manifest_travel_along(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    manifest = pack(lake, out, CONFIG)
    table = TokenTable(**{name: np.load(out / file_of(name)) for name in TOKEN_ARRAYS})
    assert (table.rows, manifest.tokens.rows, table.token_values.dtype) == (ITEMS + 2, ITEMS + 2, np.uint16)
    assert table.token_values[:3].tolist() == [101, 1001, 102]
    assert np.diff(table.segment_start_V1).tolist() == [0, *[1] * ITEMS, 0]  # the pad's row, and the other source's
    evaluation = pq.read_table(next((out / "evaluation").iterdir()))
    assert evaluation.column_names == list(EVALUATION.column_names)
    assert evaluation["impression_id"].to_pylist() == [f"i{n}" for n in range(5)]
    values = [evaluation[name].to_pylist()[-1] for name in EVALUATION.column_names[5:]]
    assert values == [[0, 3], ["unknown", "n3"], None, [0.0, 1.5], [3, 4], [1, 2], False, ["j"], False]
    assert Manifest.from_json((out / "manifest.json").read_text(), "here") == manifest
    listed = {entry.path for entry in manifest.files} | {"manifest.json"}
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == listed
    assert manifest.inputs == {table.name: lake.version(table) for table in (TRAJECTORIES, EVALUATION, ITEM_TOKENS)}


def test_the_same_inputs_give_the_same_bytes_but_for_names(lake: Lake, tmp_path: Path) -> None:
    first, second = (pack(lake, tmp_path / name, CONFIG) for name in ("a", "b"))
    names = [[entry.path for entry in manifest.files if entry.superblocks] for manifest in (first, second)]
    assert names[0] != names[1]
    contents = [
        [entry.sha256 for entry in manifest.files if not entry.path.endswith("_common_metadata")]  # it holds names
        for manifest in (first, second)
    ]
    assert contents[0] == contents[1]
    assert first.counts == second.counts


def test_packing_as_of_old_versions_gives_what_was_packed_then(lake: Lake, tmp_path: Path) -> None:
    first = pack(lake, tmp_path / "first", CONFIG)
    before, noted = lake.version(TRAJECTORIES), lake.notes(ITEM_TOKENS)["made_from"]
    try:
        lake.overwrite(TRAJECTORIES, lake.read(TRAJECTORIES).where("user_id < 'u4'"))
        lake.note(ITEM_TOKENS, "made_from", "{}")
        then = pack(lake.as_of(first.inputs), tmp_path / "then", CONFIG)
    finally:
        lake.overwrite(TRAJECTORIES, lake.read(TRAJECTORIES, version=before))
        lake.note(ITEM_TOKENS, "made_from", noted)
    assert (then.inputs, then.counts, then.tokens) == (first.inputs, first.counts, first.tokens)
    contents = [[e.sha256 for e in made.files if not e.path.endswith("_common_metadata")] for made in (first, then)]
    assert contents[0] == contents[1]


def test_packing_again_leaves_the_directory_and_other_options_are_refused(lake: Lake, tmp_path: Path) -> None:
    out = tmp_path / "packed"
    manifest = pack(lake, out, CONFIG)
    assert pack(lake, out, CONFIG) == manifest
    with pytest.raises(InputError, match=r"batch_items was 30, is 31.*Name another --out"):
        pack(lake, out, replace(CONFIG, batch_items=31))
    assert Manifest.from_json((out / "manifest.json").read_text(), "here") == manifest


def test_a_source_without_trajectories_or_evaluation_leaves_nothing(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no trajectories of source 'x'.*an earlier time"):
        pack(lake, tmp_path / "packed", PackingConfig(source="x"))
    with pytest.raises(InputError, match=r"no evaluation impressions of source 'q'.*earlier --evaluate-from"):
        pack(lake, tmp_path / "packed", PackingConfig(source="q"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("item", [{"tokenizer_sha256": "older"}, {"canonical_row": ITEMS + 1}])
def test_items_by_other_settings_than_the_source_notes_are_not_packed(
    lake: Lake, tmp_path: Path, item: dict[str, Any]
) -> None:
    before = lake.version(ITEM_TOKENS)
    changed = {name: F.when(F.col("item_id") == "n7", value).otherwise(F.col(name)) for name, value in item.items()}
    try:
        lake.overwrite(ITEM_TOKENS, lake.read(ITEM_TOKENS).withColumns(changed))
        with pytest.raises(
            InputError, match=r"tokens of source 'p' were made by other settings .* Run ./feedloop prepare_news"
        ):
            pack(lake, tmp_path / "packed", CONFIG)
    finally:
        lake.overwrite(ITEM_TOKENS, lake.read(ITEM_TOKENS, version=before))


def test_tables_of_two_runs_are_not_packed(lake: Lake, tmp_path: Path) -> None:
    lake.note(EVALUATION, "made_from.stopped", json.dumps({"unfinished": True}))
    with pytest.raises(InputError, match=r"stopped between its two tables.*build_trajectories again"):
        pack(lake, tmp_path / "packed", replace(CONFIG, source="stopped"))


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Shanghai"])
def test_dates_are_utc_wherever_the_machine_stands(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert pack(lake, tmp_path / "packed", CONFIG).counts["trajectories"] == USERS
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_table_that_was_never_made_is_named_with_its_job(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no table trajectories there. Make it with ./feedloop build_trajectories"):
        pack(Lake(spark, str(tmp_path)), tmp_path / "packed", CONFIG)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("batch_trajectories", 0, "batch_trajectories is 0: use 1 or more"),
        ("batch_tokens", -1, "batch_tokens is -1: use 0 or more"),
        ("variants", 0, "variants is 0: use 1 or more"),
        ("mixing", 1.5, "mixing is 1.5: use a share from 0 to 1"),
        ("mixing", float("nan"), "mixing is nan: use a share"),
        ("order", "best", "order is 'best': use one of random, time"),
        ("shard_by", "user", "shard_by is 'user': use one of time, items, random"),
        ("seed", 2**40, "use an integer from 0"),
        ("seed", -1, "use an integer from 0"),
    ],
)
def test_options_out_of_range_are_named(option: str, value: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        PackingConfig(**{option: value})
