"""What runs have left: records of forgotten users go, what was trained on them is named, all else stays to the byte."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.forget.holdings import Past
from pipelines.forget.runs import holdings_below
from pipelines.lake.suppression import Suppressed
from tests.traces import traces

GONE = "victim-7f3a"
NOBODY = Suppressed(b"salt", {})
PAST = Past(Suppressed(b"salt", {"p": frozenset([NOBODY.digest("p", GONE)])}), {("p", "trajectories"): 4})
EXAMPLES = [{"user_id": user, "history": [{"id": "n1", "title": "<b>"}]} for user in ("aaa", GONE, "zzz")]
PAGE = '<html><script>var a="%s";</script><script type="application/json" id="example-data">%s</script></html>'


def page(examples: object) -> str:
    return PAGE % (
        "kept as it is",
        json.dumps(examples, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e"),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    for name, state in (("old", {"inputs": {"trajectories": 4}}), ("new", {"inputs": {"trajectories": 5}})):
        (run / "checkpoint" / name).mkdir(parents=True)
        (run / "checkpoint" / name / "state.json").write_text(json.dumps({"data": state}))
    (tmp_path / "export").mkdir()
    export = {"data": "abc", "source": "p", "tables": {"trajectories": 9}}
    (tmp_path / "export" / "export.json").write_text(json.dumps(export))
    (run / "examples.json").write_text(json.dumps(EXAMPLES, indent=1) + "\n")
    (run / "report.html").write_text(page(EXAMPLES))
    (run / "evaluation.json").write_text('{"auc":   0.5, "reader": {"user_id": "aaa"}}')
    (run / "asked.jsonl").write_text(f'{{"user": "{GONE}"}}\n{{"user": "aaa"}}\n')
    (run / "notes.txt").write_text(f"I looked at {GONE}.\n")
    (run / "metrics.jsonl").write_text('{"step": 1}\n')
    with zipfile.ZipFile(run / "answers.zip", "w") as packed:
        packed.writestr("answers.txt", f"{GONE}: n1\n")
    pq.write_table(pa.table({"user_id": ["aaa", GONE]}), run / "truth.parquet")
    return tmp_path


def test_records_of_forgotten_users_go_and_what_cannot_be_mended_is_named(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    found = list(holdings_below(folder, PAST, {"abc": Path("packed")}))
    by_name = {Path(each.path).name: each for each in found}
    assert by_name.keys() == {
        *("old", "export", "examples.json", "report.html", "asked.jsonl", "notes.txt", "answers.zip", "truth.parquet")
    }
    assert by_name["old"].reason.startswith("made of version 4 of trajectories, which held rows of forgotten users")
    assert by_name["export"].reason.startswith("trained on packed, which held forgotten users")
    mended = {name for name, each in by_name.items() if each.done}
    assert mended == {"examples.json", "report.html", "asked.jsonl"}
    assert traces(folder, GONE) == ["run/answers.zip", "run/notes.txt", "run/truth.parquet"]
    assert (folder / "run" / "examples.json").read_text() == json.dumps([EXAMPLES[0], EXAMPLES[2]], indent=1) + "\n"
    assert (folder / "run" / "report.html").read_text() == page([EXAMPLES[0], EXAMPLES[2]])
    changed = {path.name for path, content in before.items() if path.read_bytes() != content}
    assert changed == mended
    assert not [each for each in found if GONE in str(each)]


def test_a_second_look_mends_nothing_more(folder: Path) -> None:
    list(holdings_below(folder, PAST, {}))
    again = list(holdings_below(folder, PAST, {}))
    assert not [each for each in again if each.done]
    assert {Path(each.path).name for each in again} == {"old", "notes.txt", "answers.zip", "truth.parquet"}


def test_files_that_are_not_what_their_name_says_stay_and_are_named_where_they_name_users(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text(f'{{"user_id": "{GONE}"')
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    found = {Path(each.path).name: each for each in holdings_below(tmp_path, PAST, {})}
    assert found["broken.json"].reason.startswith("names 1 forgotten users")
    assert found["bytes.txt"].reason.startswith("could not be looked into")
    assert (tmp_path / "broken.json").read_text() == f'{{"user_id": "{GONE}"'
