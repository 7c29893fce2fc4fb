from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from pipelines.compressed import SUFFIXES, with_compressed
from pipelines.ingest.discover import fingerprint, spread
from pipelines.ingest.discover.formats import sha256_now
from pipelines.ingest.discover.log_file import LogFile, in_batches
from pipelines.ingest.discover.previous_reads import Known
from pipelines.ingest.discover.sources import (
    Found,
    find_logs,
    find_new,
    find_usable,
    log_paths,
)
from pipelines.ingest.parse.mapping import LogMapping
from schemas.errors import InputError
from tests.builders import Line, json_line, mind_line, write_logs
from tests.compressing import packed

MIND_LINES = ("behaviors.tsv", (mind_line("1"), mind_line("2")))


def names(found: Found) -> list[str]:
    return [file.name for file in found.files]


def known(file: LogFile) -> Known:
    """The row of INGEST_FILES about a file that was read."""
    return Known(**{each.name: getattr(file, each.name) for each in fields(Known)})


def known_of_old(file: LogFile) -> Known:
    """The row of an older lake, without hashes."""
    return replace(known(file), text_bytes=None, text_sha256=None, stamp=None)


def log_file(folder: Path, name: str, text: str) -> Path:
    """The file of the folder, which holds that text."""
    path = folder / (name if "behaviors" in name else f"logs/{name}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def again(folder: Path, before: Found, as_known: Callable[[LogFile], Known] = known, *, final: bool = False) -> Found:
    """The files that a second run finds, given those that the first one read."""
    read = {file.name: as_known(file) for file in before.files}
    return find_new(log_paths(folder, "auto", None), folder, None, read, final=final)


def test_the_folder_determines_the_format(tmp_path: Path) -> None:
    json_logs = write_logs(tmp_path / "a", {"2.jsonl": [json_line()], "1.jsonl.gz": [json_line()]})
    mind_logs = write_logs(tmp_path / "b", {"behaviors.tsv.gz": [mind_line()]})
    assert names(find_logs(json_logs)) == ["logs/1.jsonl.gz", "logs/2.jsonl"]
    assert names(find_logs(mind_logs)) == ["behaviors.tsv.gz"]
    assert [file.lines_format for file in find_logs(mind_logs).files] == ["mind"]


def test_labelled_and_unlabelled_mind_files_are_read_together(tmp_path: Path) -> None:
    files = {"behaviors.tsv": [mind_line()], "behaviors_unlabelled.tsv.gz": [mind_line(shown="N1 N2")]}
    assert names(find_logs(write_logs(tmp_path, files))) == ["behaviors.tsv", "behaviors_unlabelled.tsv.gz"]


def test_one_file_can_be_named(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "b.jsonl": [json_line()]})
    assert names(find_logs(folder / "logs" / "b.jsonl")) == ["b.jsonl"]


def test_files_still_being_written_and_empty_files_are_left_out(tmp_path: Path) -> None:
    lines: dict[str, list[Line]] = {
        "a.jsonl": [json_line()],
        "_b.jsonl": [json_line()],
        ".c.jsonl": ["x"],
        "d.jsonl": [],
    }
    found = find_logs(write_logs(tmp_path, lines))
    assert (names(found), found.unreadable) == (["logs/a.jsonl"], {})


def test_a_missing_folder_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such folder.*make_sample"):
        find_logs(tmp_path / "nowhere")


def test_a_folder_without_logs_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"logs/\*\.jsonl.*behaviors\*\.tsv.*behaviors\.parquet.*--mapping"):
        find_logs(tmp_path)
    with pytest.raises(InputError, match=r"Looked for behaviors\*\.tsv"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [json_line()]}), "mind")


def test_two_formats_in_one_folder_must_be_distinguished(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()], "behaviors.tsv": [mind_line()]})
    with pytest.raises(InputError, match=r"jsonl and mind.*--format"):
        find_logs(folder)
    assert names(find_logs(folder, "mind")) == ["behaviors.tsv"]


def test_a_bad_file_is_named_and_the_others_are_found(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"good.jsonl": [json_line()], "rubbish.jsonl": ["a", "b"], "cut.jsonl.gz": []})
    logs = folder / "logs"
    (logs / "cut.jsonl.gz").write_bytes(gzip.compress(json_line().encode() * 1000)[:-9])
    (logs / "folder.jsonl").mkdir()
    (logs / "gone.jsonl").symlink_to(tmp_path / "nowhere")
    (logs / "plain.jsonl.gz").write_bytes(json_line().encode())
    found = find_logs(folder)
    assert names(found) == ["logs/good.jsonl"]
    reasons = {name.removeprefix("logs/"): reason for name, reason in found.unreadable.items()}
    assert sorted(reasons) == ["cut.jsonl.gz", "folder.jsonl", "gone.jsonl", "plain.jsonl.gz", "rubbish.jsonl"]
    assert "end-of-stream" in reasons["cut.jsonl.gz"]
    assert "Is a directory" in reasons["folder.jsonl"]
    assert "No such file" in reasons["gone.jsonl"]
    assert "Not a gzipped file" in reasons["plain.jsonl.gz"]
    assert "no line is an impression" in reasons["rubbish.jsonl"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_still_being_compressed_is_read_when_it_is_complete(tmp_path: Path, suffix: str) -> None:
    """Its second archive is incomplete at first; the lines of both are read together, then those of a third."""
    folder = write_logs(tmp_path, {"z.jsonl": [json_line("9")]})
    path, texts = folder / "logs" / f"a.jsonl{suffix}", [f"{json_line(id)}\n".encode() for id in "123"]
    path.write_bytes(packed(suffix, *texts[:2])[:-9])
    first = find_logs(folder)
    assert (names(first), list(first.unreadable)) == (["logs/z.jsonl"], [f"logs/{path.name}"])
    assert "cannot be read" in first.unreadable[f"logs/{path.name}"]
    path.write_bytes(packed(suffix, *texts[:2]))
    complete = again(folder, first)
    assert [(file.name, file.skip, file.lines) for file in complete.files] == [(f"logs/{path.name}", 0, 2)]
    path.write_bytes(packed(suffix, *texts))
    grown = again(folder, Found(files=[*first.files, *complete.files]))
    assert [(file.skip, file.lines) for file in grown.files] == [(2, 3)]


def test_a_folder_with_nothing_to_be_used_is_one_error(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": ["x"], "b.jsonl": ["y"]})
    with pytest.raises(InputError, match=r"logs/a\.jsonl: no line.*logs/b\.jsonl: no line"):
        find_logs(folder)
    assert sorted(find_new(log_paths(folder, "auto", None), folder, None, {}).unreadable) == [
        "logs/a.jsonl",
        "logs/b.jsonl",
    ]


def test_a_folder_that_was_read_before_may_have_nothing_new(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"a.jsonl": [json_line()]})
    before = {file.name: known(file) for file in find_logs(folder).files}
    assert find_usable(log_paths(folder, "auto", None), folder, None, before) == Found(files=[])


def test_files_with_no_line_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="hold no line"):
        find_logs(write_logs(tmp_path, {"a.jsonl": [], "b.jsonl.gz": []}))


@pytest.mark.parametrize("name", with_compressed("a.jsonl"))
@pytest.mark.parametrize("as_known", [known, known_of_old])
def test_a_grown_file_is_read_from_where_it_ended(
    tmp_path: Path, name: str, as_known: Callable[[LogFile], Known]
) -> None:
    first = find_logs(write_logs(tmp_path, {name: [json_line("1"), json_line("2")]}))
    assert again(tmp_path, first, as_known) == Found(files=[])
    write_logs(tmp_path, {name: [json_line("1"), json_line("2"), json_line("3")]})
    (file,) = again(tmp_path, first, as_known).files
    assert (file.skip, file.lines) == (2, 3)


def test_the_same_lines_in_more_bytes_are_nothing_new(tmp_path: Path) -> None:
    first = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1"), json_line("2")]}))
    path = tmp_path / "logs" / "a.jsonl"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert again(tmp_path, first) == Found(files=[])


@pytest.mark.parametrize(("name", "lines"), [("a.jsonl", (json_line("1"), json_line("2"))), MIND_LINES])
def test_a_last_line_that_is_half_written_waits_for_its_end(tmp_path: Path, name: str, lines: tuple[str, str]) -> None:
    path = log_file(tmp_path, name, lines[0] + "\n" + lines[1][:-1])
    first = find_logs(tmp_path)
    assert [(file.lines, file.whole_lines) for file in first.files] == [(1, True)]
    assert first.unfinished == again(tmp_path, first).unfinished == [first.files[0].name]
    path.write_text(lines[0] + "\n" + lines[1] + "\n")
    found = again(tmp_path, first)
    assert [(file.skip, file.lines) for file in found.files] == [(1, 2)]
    assert found.unfinished == []


def test_a_line_of_mind_without_its_line_end_may_be_incomplete_and_counts_if_final(tmp_path: Path) -> None:
    """Cut behind a click mark, it has all five columns."""
    path = log_file(tmp_path, "behaviors.tsv", mind_line("1") + "\n" + mind_line("2"))
    found = find_logs(tmp_path)
    assert ([file.lines for file in found.files], found.unfinished) == ([1], ["behaviors.tsv"])
    late = again(tmp_path, found, final=True)
    assert ([(file.skip, file.lines) for file in late.files], late.unfinished) == ([(1, 2)], [])
    final = find_logs(tmp_path, final=True)
    assert ([file.lines for file in final.files], final.unfinished) == ([2], [])
    assert again(tmp_path, final) == again(tmp_path, final, final=True) == Found(files=[])
    path.write_text(mind_line("1") + "\n" + mind_line("2") + " N9-0\n")
    assert [(file.skip, file.lines) for file in again(tmp_path, final).files] == [(1, 2)]


@pytest.mark.parametrize("end", [b"", b"\n"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_last_line_of_a_compressed_file_counts_for_it_is_complete(tmp_path: Path, end: bytes, suffix: str) -> None:
    path = log_file(tmp_path, f"behaviors.tsv{suffix}", "")
    path.write_bytes(packed(suffix, mind_line("1").encode() + end))
    found = find_logs(tmp_path)
    assert ([file.lines for file in found.files], found.unfinished) == ([1], [])
    assert again(tmp_path, found) == Found(files=[])


def test_a_folder_with_nothing_but_the_beginning_of_a_line_says_how_to_go_on(tmp_path: Path) -> None:
    log_file(tmp_path, "behaviors.tsv", mind_line("1"))
    with pytest.raises(InputError, match=r"its only line has no line end.*--final"):
        find_logs(tmp_path)


@pytest.mark.parametrize("as_known", [known, known_of_old])
def test_an_only_line_without_a_line_end_may_go_on(tmp_path: Path, as_known: Callable[[LogFile], Known]) -> None:
    path = write_logs(tmp_path, {"a.jsonl": []}) / "logs" / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json_line("1").encode())
    first = find_logs(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + json_line("1").encode() + b" \n" + json_line("2").encode())
    (file,) = again(tmp_path, first, as_known).files
    assert (file.skip, file.lines, file.whole_lines) == (0, 2, False)


HEAD = '{"heartbeat": 1}'  # a first line that all files of a collector have


@pytest.mark.parametrize("name", [*with_compressed("a.jsonl"), "behaviors.tsv", "behaviors.tsv.zst"])
@pytest.mark.parametrize(
    "ids",
    [
        pytest.param("312", id="another line after the first"),
        pytest.param("3456", id="larger, all new"),
        pytest.param("21", id="the same size"),
        pytest.param("1", id="smaller"),
        pytest.param("", id="only the first line"),
    ],
)
def test_a_known_name_over_other_content_is_refused_and_the_others_are_read(
    tmp_path: Path, name: str, ids: str
) -> None:
    line = mind_line if "behaviors" in name else json_line
    first = find_logs(write_logs(tmp_path, {name: [HEAD, line("1"), line("2")]}))
    other = name.replace(".", "2.", 1)
    found = again(write_logs(tmp_path, {name: [HEAD, *map(line, ids)], other: [line("9")]}), first)
    assert [file.split("/")[-1] for file in names(found)] == [other]
    ((_, reason),) = found.unreadable.items()
    assert "no line is an impression" in reason if not ids else "was rotated, replaced or edited" in reason
    assert "--source" in reason or not ids


def test_a_parquet_file_that_was_replaced_is_refused(tmp_path: Path) -> None:
    mapping = LogMapping(format="parquet", files="*.parquet")
    row = {"impression_id": ["1"], "user_id": ["u"], "time": ["t"], "history": [["a"]], "shown": [["a"]]}
    columns = row | {"clicked": [["a"]], "other": [b"x" * 70_000]}  # so much that its footer is all that is alike
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", compression="none", write_statistics=False)
    (file,) = find_logs(tmp_path, mapping=mapping).files
    read = {file.name: known(file)}
    assert find_new([file.path], tmp_path, mapping, read) == Found(files=[])
    pq.write_table(
        pa.table(columns | {"user_id": ["v"]}), tmp_path / "a.parquet", compression="none", write_statistics=False
    )
    assert file.path.stat().st_size == file.bytes
    assert "was rotated, replaced or edited" in find_new([file.path], tmp_path, mapping, read).unreadable["a.parquet"]


@pytest.mark.parametrize("name", with_compressed("a.json"))
def test_a_json_array_goes_on_where_it_ended_or_was_replaced(tmp_path: Path, name: str) -> None:
    mapping, path = LogMapping(files="*.json*"), tmp_path / name

    def write(*ids: str, between: str = ",") -> None:
        text = f"[{between.join(map(json_line, ids))}]".encode()
        path.write_bytes(packed(name, text))

    write("1", "2")
    (file,) = find_logs(tmp_path, mapping=mapping).files
    read = {file.name: known(file)}
    assert find_new([path], tmp_path, mapping, read) == Found(files=[])
    write("1", "2", "3", between=" ,\n")
    (grown,) = find_new([path], tmp_path, mapping, read).files
    assert (grown.skip, grown.lines) == (2, 3)
    assert sha256_now(path, "mapped", mapping, file.text_bytes or 0) == file.text_sha256
    for ids in ("1", "32", "143"):
        write(*ids)
        assert "was rotated, replaced or edited" in find_new([path], tmp_path, mapping, read).unreadable[name]


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([json_line("9"), json_line("2"), json_line("3")], id="another first line"),
        pytest.param([json_line("9"), json_line("2")], id="another first line, the same size"),
        pytest.param([json_line("1")], id="smaller"),
    ],
)
def test_a_file_that_an_older_lake_read_is_compared_by_its_size_and_first_line(
    tmp_path: Path, lines: list[Line]
) -> None:
    first = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1"), json_line("2")]}))
    found = again(write_logs(tmp_path, {"a.jsonl": lines}), first, known_of_old)
    assert "was longer then or began with another line" in found.unreadable["logs/a.jsonl"]


def test_a_file_with_the_stamp_of_its_last_inspection_is_not_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprint, "_FRESH_NS", 0)
    first = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1")]}))
    path = tmp_path / "logs" / "a.jsonl"
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", None)
        assert again(tmp_path, first) == Found(files=[])
    before = path.stat()
    path.write_text(json_line("2") + "\n")  # as long, and dated back
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert "was rotated" in again(tmp_path, first).unreadable["logs/a.jsonl"]


def test_a_file_that_has_just_changed_has_no_stamp_for_it_might_change_again_within_the_clocks_tick(
    tmp_path: Path,
) -> None:
    (file,) = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line("1")]})).files
    assert file.stamp is None
    os.utime(file.path, (0, 0))  # whatever date it is given
    assert fingerprint.stamp_of(file.path) is None


def test_a_name_that_is_no_utf8_is_unreadable_and_the_others_are_read(tmp_path: Path) -> None:
    write_logs(tmp_path, {"a.jsonl": [json_line("1")], os.fsdecode(b"\xff.jsonl"): [json_line("2")]})
    found = find_logs(tmp_path)
    assert names(found) == ["logs/a.jsonl"]
    assert "no UTF-8" in found.unreadable["logs/\\udcff.jsonl"]


@pytest.mark.parametrize("name", ["_a.jsonl", ".a.jsonl"])
def test_a_hidden_file_that_is_named_is_refused_for_spark_reads_none(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(json_line() + "\n")
    with pytest.raises(InputError, match="still being written"):
        find_logs(tmp_path / name)


def test_files_are_inspected_in_tasks_as_in_this_process(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spread, "_FEW_BYTES", -1)
    write_logs(tmp_path, {"a.jsonl": [json_line("1")], "b.jsonl": [json_line("2")]})
    read = {file.name: known(file) for file in find_logs(tmp_path).files}
    log_file(tmp_path, "c.jsonl", json_line() + "\n" + json_line()[:-1])
    write_logs(tmp_path, {"a.jsonl": [json_line("1"), json_line("3")], "b.jsonl": [json_line("9")], "d.jsonl": ["x"]})
    write_logs(tmp_path, {os.fsdecode(b"\xff.jsonl"): [json_line("2")], "e.jsonl.gz": [json_line("5")], "f.jsonl": []})
    paths = log_paths(tmp_path, "auto", None)
    here = find_new(paths, tmp_path, None, read)
    assert find_new(paths, tmp_path, None, read, map_items=partial(spread.map_in_tasks, spark)) == here
    assert [len(found) for found in (here.files, here.unreadable, here.unfinished)] == [3, 3, 1]


def test_batches_hold_so_much_text_of_one_kind_and_one_file_at_least(tmp_path: Path) -> None:
    sizes = {"a.jsonl": 10, "b.jsonl": 30, "c.jsonl": 60, "d.jsonl.gz": 5, "e.jsonl": 70}
    (one,) = find_logs(write_logs(tmp_path, {"a.jsonl": [json_line()]})).files
    files = [replace(one, name=name, path=Path(name), bytes=size) for name, size in sizes.items()]
    other = replace(files[0], name="f.jsonl", lines_format=LogMapping(clicked_as="marks").as_format)
    batches = [[file.name for file in batch] for batch in in_batches([*files, other], 50)]
    assert batches == [["a.jsonl", "b.jsonl"], ["c.jsonl"], ["d.jsonl.gz"], ["e.jsonl"], ["f.jsonl"]]


def test_a_mapping_says_which_files_are_logs(tmp_path: Path) -> None:
    folder = write_logs(tmp_path, {"x/1.json": [json_line()], "2.jsonl": [json_line()]})
    found = find_logs(folder, mapping=LogMapping(files="logs/*/*.json"))
    assert names(found) == ["logs/x/1.json"]
