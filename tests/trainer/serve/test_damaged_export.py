from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from jobs.cli.command_line import run
from jobs.recommend import recommend
from tests.damage import HANG, ODD_FILES, changed, damaged_texts, in_place_of, refusal, wrong_values
from tests.trainer.serve.test_export_files import RECORDED
from trainer.model.feedloop_encoder import NewsEncoder
from trainer.serve.export_files import RECORD, Record, earlier_export, write_record
from trainer.serve.export_folder import export_folder
from trainer.serve.opened_export import Export

pytestmark = pytest.mark.timeout(HANG)
ADVICE = "Remove .* and export again"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    with export_folder(tmp_path / "out", needed=0) as folder:
        write_record(folder, RECORDED)
    return tmp_path / "out" / RECORD


def refused(record: Path, text: bytes) -> str:
    record.write_bytes(text)
    refusal(lambda: earlier_export(record.parent), str(record), ADVICE)  # export_embeddings, before it writes
    return refusal(lambda: Export.open(record.parent), str(record), ADVICE)


@pytest.mark.parametrize("name", damaged_texts(b'{"format_version": 2}'))
def test_a_text_that_is_no_record_raises_an_error(record: Path, name: str) -> None:
    refused(record, damaged_texts(record.read_bytes())[name])


def test_missing_names_and_values_of_other_types_raise_an_error(record: Path) -> None:
    for text in wrong_values(record.read_bytes()).values():
        refused(record, text)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("news", 10**12, r"at \$\.news"),
        ("news", -1, r"at \$\.news"),
        ("vectors", 5, "5 vectors of 0 news"),
        ("vector_width", 10**12, r"at \$\.vector_width.* <= 16384, found 10{12}"),
        ("vector_width", 0, r"at \$\.vector_width"),
        ("history_clicks", 0, r"at \$\.history_clicks"),
        ("step", -1, r"at \$\.step"),
        ("tables", {"embeddings": -1}, r"at \$\.tables"),
        ("user", {"attention_width": 10**12}, r"its user, at \$: user\.attention_width is 10{12}"),
        ("user", {"heads": 0}, r"user\.heads is 0"),
        ("user", {"model": "lstm"}, r"its user, at \$\.model"),
        ("user", {"colour": 1}, r"its user, at \$\.colour: no such name"),
        ("made_by", "me", r"at \$\.made_by: no such name"),
        ("source", "x" * 5000, r"at \$\.source"),
    ],
)
def test_impossible_numbers_raise_an_error_that_names_the_place(
    record: Path, name: str, value: object, said: str
) -> None:
    message = refused(record, changed(record.read_bytes(), lambda raw: raw.update({name: value})))
    assert re.search(said, message), message


def test_another_format_version_raises_an_error(record: Path) -> None:
    record.write_bytes(changed(record.read_bytes(), lambda raw: raw.update(format_version=9)))
    assert "format version 9, this code reads 2" in refusal(lambda: Record.read(record.parent), str(record))


@pytest.mark.parametrize("kind", ODD_FILES)
def test_only_a_regular_file_is_opened(record: Path, kind: str) -> None:
    with in_place_of(record, ODD_FILES[kind]):
        refusal(lambda: Export.open(record.parent), str(record), ADVICE)


def test_a_job_ends_with_2_and_one_line(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record.write_bytes(changed(record.read_bytes(), lambda raw: raw.update(vector_width=10**12)))
    assert run(recommend, ["--export", str(record.parent), "--clicked", "n1"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"feedloop recommend: {record}, at $.vector_width: Expected")
    assert printed.err.count("\n") == 1


SETTINGS = {
    "bus": False,
    "first_bus_layer": 1,
    "first_trained_layer": None,
    "text_part": "",
    "time_first": False,
    "fields": ["title"],
    "select": "text",
    "tokens_per_segment": 8,
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    file = tmp_path / "feedloop.json"
    file.write_text(json.dumps(SETTINGS))
    return file


def encoder_refused(settings: Path) -> None:
    with pytest.raises(
        ValueError, match=rf"^{re.escape(str(settings))}: no valid settings of an export .*\. Export again$"
    ):
        NewsEncoder(settings.parent)


@pytest.mark.parametrize("name", [name for name in damaged_texts(b"{}") if name != "half a surrogate"])
def test_the_exported_encoder_names_invalid_settings(settings: Path, name: str) -> None:
    settings.write_bytes(damaged_texts(settings.read_bytes())[name])
    encoder_refused(settings)


def test_the_exported_encoder_rejects_values_of_other_types(settings: Path) -> None:
    texts = wrong_values(settings.read_bytes())
    read = ("bus", "first_bus_layer", "fields", "select", "tokens_per_segment")
    for name in (name for name in texts if name.removeprefix("without ").split(" is ")[0] in read):
        settings.write_bytes(texts[name])
        encoder_refused(settings)
    for name, value in (("first_bus_layer", 10**12), ("tokens_per_segment", -1), ("fields", [1])):
        settings.write_text(json.dumps(SETTINGS | {name: value}))
        encoder_refused(settings)


@pytest.mark.parametrize("kind", ODD_FILES)
def test_the_exported_encoder_opens_only_a_regular_file(settings: Path, kind: str) -> None:
    with in_place_of(settings, ODD_FILES[kind]):
        encoder_refused(settings)
