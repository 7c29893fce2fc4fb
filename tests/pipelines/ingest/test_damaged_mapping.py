from __future__ import annotations

from pathlib import Path

import pytest

from jobs.cli.command_line import run
from jobs.ingest import ingest
from jobs.train import train
from pipelines.ingest.parse.mapping import ListForm, LogMapping, mapping_of
from pipelines.ingest.parse.mapping_file import read_mapping
from schemas.errors import InputError
from schemas.strict_toml import toml_tables
from tests.damage import HANG, ODD_FILES, damaged_texts, in_place_of, refusal

pytestmark = pytest.mark.timeout(HANG)

COMPLETE = b"""[log]
format = "jsonl"
files = "*.jsonl"

[columns]
impression_id = "i"
user_id = "u"
time = "t"
shown = "s"
"""

TEXTS: dict[str, bytes] = {
    "zero bytes": bytes(40),
    "not UTF-8": COMPLETE.replace(b'"i"', b'"\xff"'),
    "UTF-16": COMPLETE.decode().encode("utf-16"),
    "cut short": COMPLETE[:-3],
    "JSON": b'{"log": {"format": "jsonl"}}',
    "10,000 deep": b"a = " + b"[" * 10_000 + b"]" * 10_000,
    "tables 10,000 deep": b"[" + b".".join([b"a"] * 10_000) + b"]\n",
    "names 10,000 deep": b".".join([b"a"] * 10_000) + b" = 1\n",
    "names 10,000 deep, inline": b"a = {" + b".".join([b"a"] * 10_000) + b" = 1}\n",
    "one long name": b"a" * 200_000,
    "tables 10,000 deep, inline": b"a = " + b"{a = " * 10_000 + b"1" + b"}" * 10_000,
    "5,000 digits": b"a = " + b"9" * 5_000,
    "a name twice": COMPLETE + b'shown = "s"\n',
    "a table twice": COMPLETE + b"[log]\n",
    "half a surrogate": b'a = "\\ud800"',
    "a control character": b'a = "\x01"',
    "no quotes": b"a = b",
    "a value that is no date": b"a = 2026-13-40",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_is_no_toml_is_refused_by_both_of_its_readers(tmp_path: Path, name: str) -> None:
    file = tmp_path / "log.toml"
    file.write_bytes(TEXTS[name])
    refusal(lambda: read_mapping(file), f"--mapping {file}", "See the examples")
    refusal(lambda: toml_tables(TEXTS[name], f"--config {file}", advice="Name a TOML file"), str(file), "Name a TOML")


def test_a_byte_order_mark_before_toml_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "log.toml").write_bytes(b"\xef\xbb\xbf" + COMPLETE)
    assert read_mapping(tmp_path / "log.toml").read_columns["shown"] == "s"


@pytest.mark.parametrize("kind", ODD_FILES)
def test_only_a_regular_file_is_a_mapping_or_a_preset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    file = tmp_path / "log.toml"
    file.write_bytes(COMPLETE)
    with in_place_of(file, ODD_FILES[kind]):
        refusal(lambda: read_mapping(file), str(file), "See the examples")
        assert run(train, ["--data", str(tmp_path), "--out", str(tmp_path), "--config", str(file)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"feedloop train: {file}: ")
    assert message.endswith("Name a TOML file, such as those in jobs/presets\n")


@pytest.mark.parametrize("name", ["10,000 deep", "5,000 digits", "not UTF-8"])
def test_jobs_end_with_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    file = tmp_path / "log.toml"
    file.write_bytes(TEXTS[name])
    words = ["--lake", str(tmp_path / "lake"), "--logs", str(tmp_path), "--source", "s"]
    for job, options in ((ingest, [*words, "--mapping", str(file)]), (train, ["--config", str(file)])):
        assert run(job, options) == 2
        output = capsys.readouterr()
        assert (output.out, output.err.count("\n")) == ("", 1)
        assert str(file) in output.err


STORED = LogMapping(time_format="epoch_seconds", lists={"shown": ListForm(split=" ")}).as_format.encode()


@pytest.mark.parametrize("name", damaged_texts(STORED))
def test_a_stored_mapping_that_another_program_changed_is_refused(name: str) -> None:
    text = damaged_texts(STORED)[name]
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return  # a column of texts cannot hold it
    refusal(lambda: mapping_of(decoded), "raw_log", "Another program has changed it")


@pytest.mark.parametrize(
    "change",
    [
        ('"clicked_as":"ids"', '"clicked_as":["ids"]'),
        ('"clicked_as":"ids"', '"clicked":"ids"'),
        ('"split":" "', '"split":5'),
        ('"split":" "', '"split":" ","by":" "'),
        ('{"field":"","split":" "}', '" "'),
        ('"extra":{}', '"extra":{"x":["y"]}'),
    ],
)
def test_a_stored_mapping_with_other_keys_or_kinds_of_values_is_refused(change: tuple[str, str]) -> None:
    text = STORED.decode().replace(*change)
    assert text != STORED.decode()
    refusal(lambda: mapping_of(text), "raw_log", "Another program has changed it")


def test_the_complete_mapping_is_read_and_stored_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "log.toml").write_bytes(COMPLETE)
    mapping = read_mapping(tmp_path / "log.toml")
    assert mapping_of(mapping.as_format).read_columns == mapping.read_columns
    with pytest.raises(InputError, match="no such file"):
        read_mapping(tmp_path / "none.toml")
