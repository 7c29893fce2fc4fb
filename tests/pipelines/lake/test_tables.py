from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession

from pipelines.delta.commits import Changes, Mark
from pipelines.delta.log import history, open_table
from pipelines.delta.table_ddl import literal
from pipelines.engine import region, spark_writer
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.errors import ContractError, InputError
from schemas.news import NEWS
from tests.builders import rows
from tests.lakes import SHORT, WORDS, words


def test_an_append_counts_once_per_version(lake: Lake) -> None:
    incoming = ((1, "a"), (1, "again"), (2, "b"), (1, "late"))
    frames = [(version, words(lake, ("en", word, [1]), ("de", word * 2, []))) for version, word in incoming]
    counts = [lake.append(WORDS, frame, app_id="test", app_version=version) for version, frame in frames]
    assert counts == [2, 0, 2, 0]
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1]), ("aa", []), ("b", [1]), ("bb", [])]
    assert rows(lake.read(WORDS, version=1), "word") == [("a",), ("aa",)]
    assert lake.version(WORDS) == 2


def test_overwrite_replaces_all_rows_or_those_named(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("de", "b", [2])))
    lake.overwrite(WORDS, words(lake, ("de", "c", [3])), where="language = 'de'")
    assert rows(lake.read(WORDS), "word") == [("a",), ("c",)]
    lake.overwrite(WORDS, words(lake, ("en", "d", [])))
    assert rows(lake.read(WORDS), "word") == [("d",)]


@pytest.mark.parametrize("name", ["it's", "a\\b", "a\\'b", "'", "\\", "x' OR 'x' = 'x"])
def test_overwrite_takes_texts_of_any_letters(lake: Lake, name: str) -> None:
    others = [each for each in ("it's", "a\\b", "ab", "en") if each != name]
    lake.overwrite(WORDS, words(lake, *((each, "kept", [1]) for each in others), (name, "old", [1])))
    lake.overwrite(WORDS, words(lake, (name, "new", [2])), where=f"language = {literal(name)}")
    assert rows(lake.read(WORDS), "language", "word") == sorted(
        [*((e, "kept") for e in others), (name, "new")], key=repr
    )


def test_overwrite_brings_new_columns_where_they_are_asked_for(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("de", "b", [2])))
    incoming = words(lake, ("de", "c", [3], "noun"), more=", kind string")
    lake.overwrite(WORDS, incoming, where="language = 'de'")
    assert "kind" not in lake.read(WORDS).columns
    lake.overwrite(WORDS, incoming, where="language = 'de'", evolve=True)
    assert rows(lake.read(WORDS), "word", "kind") == [("a", None), ("c", "noun")]


def merge(lake: Lake, version: int | None, frame: DataFrame, **how: Any) -> Changes:
    how = {"set_on_match": {"uses": "concat(stored.uses, incoming.uses)"}} | how
    return lake.merge(WORDS, frame, mark=Mark() if version is None else Mark("test", version), **how)


def settings(lake: Lake) -> dict[str, str]:
    """Delta's session settings: those that a MERGE needs must not stay behind."""
    found = {name: value for name, value in lake.spark.conf.getAll.items() if ".delta." in name}
    return {name: value for name, value in found.items() if not name.endswith("lastCommitVersionInSession")}


def test_merge_updates_what_matches_and_inserts_the_rest_once_per_version(lake: Lake) -> None:
    before = settings(lake)
    assert merge(lake, 1, words(lake, ("en", "a", [1]), ("en", "b", [1]))) == Changes(inserted=2)
    frame = words(lake, ("en", "a", [2]), ("de", "c", [2]), ("de", "d", [2]))
    assert merge(lake, 2, frame) == Changes(inserted=2, updated=1)
    version = lake.version(WORDS)
    assert merge(lake, 2, frame) == Changes()
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1, 2]), ("b", [1]), ("c", [2]), ("d", [2])]
    assert (lake.version(WORDS), settings(lake)) == (version, before)


def test_merge_can_update_under_a_condition(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("en", "b", [1])))
    merge(lake, 1, words(lake, ("en", "a", [5]), ("en", "b", [6])), update_when="incoming.uses[0] > 5")
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1]), ("b", [1, 6])]
    assert lake.read(WORDS).columns == ["language", "word", "uses"]


@pytest.mark.parametrize("few", [0, 50_000])
def test_stored_rows_change_their_keys_and_go_in_one_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(spark_writer, "_FEW", few)
    monkeypatch.setattr(region, "_FEW_IDS", few)
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("en", "b", [2]), ("en", "c", [3]), ("de", "a", [4])))
    incoming = words(lake, ("de", "x", [5]), ("en", "b", []), ("en", "q", [6]))
    old = incoming.selectExpr("*", "struct(IF(word = 'x', 'a', word) AS word) AS old", "word = 'b' AS gone")
    before = lake.version(WORDS)
    assert lake.change(WORDS, old, where="stored.language = 'en'", mark=Mark("test", 1)) == Changes(
        updated=1, deleted=1
    )
    assert rows(lake.read(WORDS)) == [("de", "a", [4]), ("de", "x", [5]), ("en", "c", [3])]
    assert lake.change(WORDS, old.where("word = 'none'"), where="true") == Changes()
    assert lake.version(WORDS) == before + 1


def test_merge_without_an_app_happens_each_time(lake: Lake) -> None:
    frame = words(lake, ("en", "a", [1]))
    assert merge(lake, None, frame) == Changes(inserted=1)
    assert [merge(lake, None, frame) for _ in range(2)] == [Changes(updated=1)] * 2
    assert rows(lake.read(WORDS), "uses") == [([1, 1, 1],)]


def test_where_narrows_what_a_merge_can_match_and_what_it_reads(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1]), ("de", "b", [1])))
    changes = merge(lake, 1, words(lake, ("en", "a", [2]), ("de", "b", [2])), where="stored.language IN ('en')")
    assert changes == Changes(inserted=1, updated=1)
    assert rows(lake.read(WORDS), "word", "uses") == [("a", [1, 2]), ("b", [1]), ("b", [2])]
    metrics = history(lake.path(WORDS), limit=1)[0]["operationMetrics"]
    assert (metrics.get("numTargetFilesRemoved"), metrics.get("num_removed_files")) in (("1", None), (None, 1))


def test_new_columns_of_a_frame_come_in_where_they_are_asked_for(lake: Lake) -> None:
    before = settings(lake)
    lake.append(WORDS, words(lake, ("en", "a", [1])), app_id="test", app_version=1)
    incoming = words(lake, ("en", "b", [1], "noun"), more=", kind string")
    lake.append(WORDS, incoming, app_id="test", app_version=2)
    assert lake.read(WORDS).columns == ["language", "word", "uses"]
    incoming = words(lake, ("en", "c", [1], "verb"), more=", kind string")
    assert lake.append(WORDS, incoming, app_id="test", app_version=3, evolve=True) == 1
    incoming = words(lake, ("en", "a", [1], "noun", 7), ("en", "d", [1], "verb", 8), more=", kind string, rank int")
    assert lake.append(WORDS, incoming.where("word = 'd'"), app_id="test", app_version=4, evolve=True) == 1
    changed = incoming.where("word = 'a'").selectExpr("*", "struct(word) AS old", "false AS gone")
    assert lake.change(WORDS, changed, where="stored.language = 'en'") == Changes(updated=1)
    assert merge(lake, 5, words(lake, ("en", "e", [1]))) == Changes(inserted=1)
    found = [("a", "noun", 7), ("b", None, None), ("c", "verb", None), ("d", "verb", 8), ("e", None, None)]
    assert rows(lake.read(WORDS), "word", "kind", "rank") == found
    assert settings(lake) == before


def test_a_null_where_the_contract_has_none_is_refused_and_no_table_is_left(lake: Lake) -> None:
    with pytest.raises(ContractError, match=r"rows without word were not written.*mend these rows"):
        lake.append(WORDS, words(lake, ("en", None, [1])), app_id="test", app_version=1)
    assert not lake.exists(WORDS)
    assert not Path(lake.path(WORDS)).exists()
    lake.append(WORDS, words(lake, ("en", "a", [1])), app_id="test", app_version=1)
    assert rows(lake.read(WORDS), "word") == [("a",)]


def test_a_frame_without_the_columns_leaves_no_table(lake: Lake) -> None:
    with pytest.raises(ContractError, match="uses"):
        lake.overwrite(WORDS, words(lake).drop("uses"))
    assert not lake.exists(WORDS)


def test_deletion_vectors_are_off_and_files_lie_by_partition(lake: Lake) -> None:
    lake.overwrite(WORDS, words(lake, ("en", "a", [1])))
    assert open_table(lake.path(WORDS)).metadata().partition_columns == ["language"]
    assert lake.properties(WORDS)["delta.enableDeletionVectors"] == "false"


def test_a_missing_table_names_the_job_that_makes_it(lake: Lake) -> None:
    for look in (lake.version, lake.read):
        with pytest.raises(InputError, match=r"no table news there\. Make it with \./feedloop prepare_news"):
            look(NEWS)


def test_a_file_is_no_lake(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be a folder"):
        Lake(spark, str(tmp_path / "file"))


def test_a_broken_rule_is_refused_with_its_name_and_nothing_changes(lake: Lake) -> None:
    table = replace(WORDS, checks=(SHORT,))
    lake.append(table, words(lake, ("en", "a", [1])), app_id="test", app_version=1)
    version = lake.version(table)
    long = words(lake, ("en", "long", [1]), ("en", "b", [1]))
    for write in (
        lambda: lake.append(table, long, app_id="test", app_version=2),
        lambda: lake.merge(table, long, set_on_match={"uses": "incoming.uses"}),
        lambda: lake.overwrite(table, long),
    ):
        with pytest.raises(ContractError, match=r"break the rule short_word of table words .*length\(word\).*mend"):
            write()
    assert (lake.version(table), rows(lake.read(table), "word")) == (version, [("a",)])


def test_of_two_simultaneous_writers_one_is_asked_to_run_again(lake: Lake, spark: SparkSession, tmp_path: Path) -> None:
    """The second writes while the first is planned and not yet committed: between its reading and its writing."""
    lake.overwrite(WORDS, words(lake, ("en", "a", [1])))

    def late(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        begun.touch()
        for _ in range(300):  # until the other has committed
            if len(list(log.glob("*.json"))) > commits:
                break
            time.sleep(0.1)
        yield from batches

    log, begun = Path(lake.path(WORDS)) / "_delta_log", tmp_path / "begun"
    commits = len(list(log.glob("*.json")))
    slow = words(lake, ("en", "a", [2])).mapInArrow(late, "language string, word string, uses array<int>")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(lambda: lake.merge(WORDS, slow, set_on_match={"uses": "incoming.uses"}))
        while not (begun.exists() or first.done()):
            time.sleep(0.1)
        other = Lake(spark if is_embedded(spark) else spark.newSession(), lake.root)
        other.overwrite(WORDS, words(other, ("en", "a", [3])))
        with pytest.raises(InputError, match=r"another run wrote table words at the same time\. Nothing was lost"):
            first.result()
    assert rows(lake.read(WORDS), "uses") == [([3],)]


def test_a_log_that_was_left_without_a_commit_is_no_table_and_is_made_one(spark: SparkSession, tmp_path: Path) -> None:
    lake, log = Lake(spark, str(tmp_path)), tmp_path / WORDS.name / "_delta_log"
    log.mkdir(parents=True)
    for name in ("..00000000000000000000.json.a.tmp.crc", ".00000000000000000000.json.a.tmp"):
        (log / name).touch()  # what a disk leaves that is full at a table's first commit
    assert not lake.exists(WORDS)
    assert lake.create(WORDS)
    assert lake.exists(WORDS)
    assert not lake.create(WORDS)
