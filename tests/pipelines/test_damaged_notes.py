from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.lake.locks import FOLDER, locked
from pipelines.lake.notes import NewsNote, TrajectoriesNote, read_note
from pipelines.lake.tables import Lake
from pipelines.packing.config import PackingConfig
from pipelines.packing.flow import pack
from schemas.errors import InputError
from schemas.news import ITEM_TOKENS
from schemas.trajectory import EVALUATION, TRAJECTORIES
from tests.damage import HANG, ODD_FILES, damaged_texts, in_place_of, refusal, wrong_values

REPORT = {"job": "pack", "inputs": {"words": 3}, "outputs": {"words": 4}}


@pytest.mark.timeout(600)
def test_a_report_of_table_versions_is_read_strictly(lake: Lake, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    intact = json.dumps(REPORT).encode()
    texts = damaged_texts(intact) | wrong_values(intact)
    texts |= {"a version of -1": json.dumps(REPORT | {"inputs": {"words": -1}}).encode()}
    texts |= {"a version of 10^18": json.dumps(REPORT | {"inputs": {"words": 10**18}}).encode()}
    texts |= {"a version that is a text": json.dumps(REPORT | {"inputs": {"words": "3"}}).encode()}
    for text in texts.values():
        file.write_bytes(text)
        refusal(lambda: lake.versions_from(str(file)), str(file), "Name a JSON file that a job wrote below _versions/")
    for kind in ODD_FILES.values():
        with in_place_of(file, kind):
            refusal(lambda: lake.versions_from(str(file)), str(file), "Name a JSON file that a job wrote")
    file.write_bytes(intact)
    assert lake.versions_from(str(file)) == {"words": 4}


@pytest.mark.timeout(600)
def test_a_note_that_another_program_changed_is_refused_by_table_and_name(lake: Lake, tmp_path: Path) -> None:
    for table in (TRAJECTORIES, EVALUATION, ITEM_TOKENS):
        lake.create(table)
    assert read_note(lake, EVALUATION, "made_from.p", TrajectoriesNote) == {}
    for text in ('{"written": [1,', '{"inputs": {"news": -1}}', "[]", '{"unfinished": 1}'):
        lake.note(EVALUATION, "made_from.p", text)
        refusal(
            lambda: pack(lake, tmp_path / "packed", PackingConfig(source="p")),
            "table evaluation, its note made_from.p",
            "Run the job that writes this table again",
        )
    for text in ('{"sources": {"p": {"language": "en"}}}', '{"sources": []}', '{"tokens": 7}'):
        lake.note(ITEM_TOKENS, "made_from", text)
        refusal(lambda: read_note(lake, ITEM_TOKENS, "made_from", NewsNote), "table item_tokens, its note made_from")


@pytest.mark.timeout(HANG)
@pytest.mark.parametrize("text", ["", "{", "[]", '{"job": "ingest"}', '{"pid": 1, "host": 2}', "[" * 100_000])
def test_a_lock_whose_file_names_no_holder_is_still_held(tmp_path: Path, text: str) -> None:
    with locked(str(tmp_path), "ingest"):
        (tmp_path / FOLDER / "ingest.lock").write_text(text)
        with pytest.raises(InputError, match="ingest of this lake has just begun"), locked(str(tmp_path), "ingest"):
            pass
