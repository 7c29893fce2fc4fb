"""The audit of a batch: a batch that fails leaves no trace, and the error names the file."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyspark.sql import SparkSession

from pipelines.ingest.batch.audit import check_lines
from pipelines.ingest.batch.run_records import raw_note
from pipelines.ingest.discover import spread
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import Found, find_logs, find_new, log_paths
from pipelines.ingest.flow import ingest_logs
from pipelines.ingest.parse.mapping import LogMapping
from pipelines.ingest.read.readers import raw_lines
from pipelines.lake.tables import Lake
from pipelines.session import is_embedded
from schemas.errors import ContractError, InputError
from schemas.raw_log import INGEST_FILES, RAW_LOG, REJECTS
from tests.builders import ARRIVED, Line, json_line, rows, write_logs

FILES: dict[str, list[Line]] = {
    "a.jsonl": [json_line(str(at)) for at in range(3)],
    "b.jsonl": [json_line(f"b{at}") for at in range(9)],
}


def run(lake: Lake, logs: Path, meanwhile: Callable[[], object] = lambda: None, **options: Any) -> dict[str, Any]:
    """An ingest; `meanwhile` happens between the inspection of its files and their reading."""

    def find(known: Mapping[str, Known]) -> Found:
        found = find_new(log_paths(logs, "auto", None), logs, None, known)
        meanwhile()
        return found

    return ingest_logs(lake, find, source="publisher", arrived_at=ARRIVED, **options)


def new_counts(summary: dict[str, Any]) -> tuple[int, int]:
    """New files and lines."""
    return summary["new_files"], summary["lines"]


def cut(path: Path) -> None:
    path.write_bytes(b"\n".join(path.read_bytes().split(b"\n")[:4]) + b"\n")


def test_a_file_that_shrinks_between_its_inspection_and_its_reading_fails_its_batch_and_the_next_run_reads_it_all(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, FILES)
    with pytest.raises(InputError, match=r"logs/b\.jsonl: it had 9 new lines when it was inspected, and 4 when.*again"):
        run(lake, logs, lambda: cut(logs / "logs" / "b.jsonl"))
    assert not list((tmp_path / "lake").glob("*/_delta_log"))
    summary = run(lake, write_logs(tmp_path, FILES))
    assert [summary[name] for name in ("new_files", "lines", "rejected")] == [2, 12, 0]
    assert lake.read(RAW_LOG).count() == 12


def test_a_file_that_goes_between_its_inspection_and_its_reading_is_named(spark: SparkSession, tmp_path: Path) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, FILES)
    with pytest.raises(InputError, match=r"^logs/b\.jsonl: it was changed while it was read"):
        run(lake, logs, (logs / "logs" / "b.jsonl").unlink)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_text("\n".join(str(line) for line in FILES["b.jsonl"][:8])), "9 new lines .* 8 when"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"b7", b"c7")), "it was changed while it was read"),
        (lambda path: path.write_bytes(b""), "9 new lines .* 0 when"),
    ],
)
def test_a_file_that_is_another_when_it_is_read_is_named(
    spark: SparkSession, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    found = find_logs(write_logs(tmp_path, FILES))
    change(tmp_path / "logs" / "b.jsonl")
    lines = raw_lines(spark, found.files)
    with pytest.raises(InputError, match=rf"logs/b\.jsonl: .*{message}"):
        check_lines(lines, found.files)


def test_changed_files_are_found_in_tasks_as_well(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = find_logs(write_logs(tmp_path, FILES))
    monkeypatch.setattr(spread, "_FEW_BYTES", -1)
    check_lines(raw_lines(spark, found.files), found.files)
    path = tmp_path / "logs" / "b.jsonl"
    path.write_bytes(path.read_bytes().replace(b"b7", b"c7"))
    with pytest.raises(InputError, match=r"^logs/b\.jsonl: it was changed while it was read\. It was cut"):
        check_lines(raw_lines(spark, found.files), found.files)


def shown(ids: Sequence[str]) -> bytes:
    """Parquet of impressions under our own names."""
    row = {"user_id": "u", "time": "2026-03-02T09:15:07Z", "history": ["n1"], "shown": ["n1", "n2"], "clicked": ["n1"]}
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"impression_id": id, **row} for id in ids]), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(shown("12")), "it had 3 new lines .* 2 when"),
        (lambda path: path.write_bytes(shown("1234")), "it was changed while it was read"),
        (lambda path: path.write_bytes(shown("124")), "it was changed while it was read"),
        (lambda path: path.write_bytes(shown("123")[:-9]), "it was changed while it was read"),
        (lambda path: path.unlink(), "it was changed while it was read"),
    ],
)
def test_a_parquet_file_that_is_another_when_it_is_read_is_named(
    spark: SparkSession, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    for name in "ab":
        (tmp_path / f"{name}.parquet").write_bytes(shown("123"))
    found = find_logs(tmp_path, mapping=LogMapping(format="parquet", files="*.parquet"))
    check_lines(raw_lines(spark, found.files), found.files)
    change(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=rf"^b\.parquet: {message}"):
        check_lines(raw_lines(spark, found.files), found.files)


def test_a_json_array_that_is_another_when_it_is_read_is_named(spark: SparkSession, tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(f"[{json_line('1')}, {json_line('2')}]")
    found = find_logs(tmp_path, mapping=LogMapping(files="*.json"))
    check_lines(raw_lines(spark, found.files), found.files)
    (tmp_path / "b.json").write_text(f"[{json_line('1')}, {json_line('3')}]")
    with pytest.raises(InputError, match=r"^b\.json: it was changed while it was read"):
        check_lines(raw_lines(spark, found.files), found.files)


def test_a_file_that_grows_while_it_is_read_passes_with_the_lines_it_had(spark: SparkSession, tmp_path: Path) -> None:
    found = find_logs(write_logs(tmp_path, FILES))
    with (tmp_path / "logs" / "b.jsonl").open("a") as stream:
        stream.write(json_line("later") + "\n")
    lines = raw_lines(spark, found.files)
    check_lines(lines, found.files)
    assert lines.count() == 12


def test_lines_under_a_name_that_the_batch_does_not_read_are_an_error(spark: SparkSession, tmp_path: Path) -> None:
    found = find_logs(write_logs(tmp_path, FILES))
    strange = spark.createDataFrame([("c.jsonl",)], "file string")
    lines = raw_lines(spark, found.files).select("file").union(strange)
    with pytest.raises(ContractError, match=r"^c\.jsonl: lines of a file that this batch does not read"):
        check_lines(lines, found.files)


def test_two_names_of_one_file_are_refused_where_they_would_double_its_lines(
    spark: SparkSession, tmp_path: Path
) -> None:
    (file,) = find_logs(write_logs(tmp_path, {"a.jsonl": FILES["a.jsonl"]})).files
    with pytest.raises(InputError, match=r"are one file\. Take one of the two names out"):
        raw_lines(spark, [file, file])


def late(count: int) -> dict[str, list[Line]]:
    """Lines with an hour that no day has; the first without a time."""
    return {"a.jsonl": [json_line(str(at), time="2026-03-02T25" if at else "") for at in range(count)]}


def test_a_batch_with_too_many_refused_lines_shows_the_first_and_leaves_no_trace(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, late(21))
    asked = r"logs/a\.jsonl: 21 of the 21 lines .*refused \(missing_field 1, bad_time 20\).*--max-reject-share allows.*"
    with pytest.raises(InputError, match=asked + "line 1, missing_field: .*impression_id"):
        run(lake, logs)
    key = b"a key of 16 bytes or more"
    with pytest.raises(InputError, match="line 1, missing_field: withheld, for it may name a user") as error:
        run(lake, logs, user_key=key)
    assert "u1" not in str(error.value)
    assert not list((tmp_path / "lake").glob("*/_delta_log"))
    summary = run(lake, logs, max_reject_share=1.0)
    assert (summary["lines"], summary["rejected"]) == (21, 21)
    assert rows(lake.read(REJECTS).groupBy("reason").count()) == [("bad_time", 20), ("missing_field", 1)]


def test_refusals_in_a_run_of_a_few_lines_are_still_rejects(spark: SparkSession, tmp_path: Path) -> None:
    summary = run(Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, late(20)))
    assert (summary["lines"], summary["rejected"]) == (20, 20)


def test_the_earliest_time_of_a_run_holds_under_a_key_and_is_noted_for_a_run_that_completes_its_batch(
    spark: SparkSession, tmp_path: Path
) -> None:
    lake = Lake(spark, str(tmp_path / "lake"))
    logs = write_logs(tmp_path, {"a.jsonl": [json_line(time="1985-03-02T09:15:31Z")]})
    summary = run(lake, logs, earliest=date(1980, 1, 1), user_key=b"a key of 16 bytes or more")
    assert (summary["impressions"], summary["rejected"]) == (1, 0)
    assert raw_note(lake, "publisher", 1)["earliest"] == "1980-01-01"


@pytest.fixture
def elsewhere(spark: SparkSession) -> Any:
    """Hadoop's configuration says that a path without a scheme is on HDFS, as on every machine with HDFS."""
    if is_embedded(spark):
        pytest.skip("only Spark asks Hadoop for paths")
    conf = spark.sparkContext._jsc.hadoopConfiguration()  # type: ignore[attr-defined]
    before = conf.get("fs.defaultFS")
    conf.set("fs.defaultFS", "hdfs://nowhere:9")
    yield
    conf.set("fs.defaultFS", before)


@pytest.mark.usefixtures("elsewhere")
def test_no_line_is_lost_where_hadoop_takes_paths_for_its_own(spark: SparkSession, tmp_path: Path) -> None:
    lake, logs = Lake(spark, str(tmp_path / "my lake (1)+")), write_logs(tmp_path, FILES)
    assert new_counts(run(lake, logs)) == (2, 12)
    write_logs(tmp_path, {"a.jsonl": [*FILES["a.jsonl"], json_line("4")]})
    summary = run(lake, logs)
    assert new_counts(summary) == (1, 1)
    (report,) = sorted((tmp_path / "my lake (1)+" / "_versions" / "ingest").glob("*.json"))[1:]
    assert lake.versions_from(str(report)) == summary["inputs"] | summary["outputs"]
    assert lake.as_of(lake.versions_from(str(report))).read(RAW_LOG).count() == 13


def test_a_lake_from_before_hashes_can_still_be_read(spark: SparkSession, tmp_path: Path) -> None:
    lake, logs = Lake(spark, str(tmp_path / "lake")), write_logs(tmp_path, FILES)
    run(lake, logs)
    files = lake.read(INGEST_FILES).drop("text_bytes", "text_sha256", "stamp").toArrow()
    how: dict[str, Any] = {"mode": "overwrite", "schema_mode": "overwrite", "partition_by": ["source"]}
    write_deltalake(lake.path(INGEST_FILES), files, **how)
    write_logs(tmp_path, {"a.jsonl": [*FILES["a.jsonl"], json_line("4")]})
    assert new_counts(run(lake, logs)) == (1, 1)
    found = lake.read(INGEST_FILES).selectExpr("file", "batch", "lines", "text_sha256 IS NOT NULL")
    assert rows(found) == [
        ("logs/a.jsonl", 1, 3, False),
        ("logs/a.jsonl", 2, 4, True),
        ("logs/b.jsonl", 1, 9, False),
    ]
