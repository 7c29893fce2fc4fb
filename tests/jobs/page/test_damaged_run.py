from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.command_line import run as run_job
from jobs.page.facts import Places, read_facts
from jobs.report import report
from tests.damage import HANG, ODD_FILES, changed, damaged_texts, in_place_of, refusal
from tests.jobs.page.runs import METRICS, run_folder

pytestmark = pytest.mark.timeout(HANG)
ADVICE = "Remove it, or run the job that made it again"
FILES = ("config.json", "about.json", "evaluation.json", "examples.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_folder(tmp_path_factory.mktemp("damaged"))


@pytest.fixture
def run(folder: Path) -> Iterator[Path]:
    files = {file: file.read_bytes() for file in (*folder.glob("*.json*"), folder.parent / "summary.json")}
    yield folder
    for file, content in files.items():
        file.write_bytes(content)


@pytest.mark.parametrize("name", [*FILES, "summary.json"])
def test_a_damaged_json_file_raises_an_error_that_names_it(run: Path, name: str) -> None:
    file = run.parent / name if name == "summary.json" else run / name
    texts = damaged_texts(file.read_bytes())
    if name == "summary.json":
        del texts["an object of nothing known"]  # each part of it may be missing
    for text in texts.values():
        file.write_bytes(text)
        refusal(lambda: read_facts(Places(run=run), read_batches=False), str(file), ADVICE)


OWN: list[tuple[str, list[str | int], object, str]] = [
    ("config.json", ["run", "epochs"], 0, r"\$\.run\.epochs"),
    ("config.json", ["run", "epochs"], "2", r"\$\.run\.epochs"),
    ("config.json", ["run"], [], r"\$\[\.\.\.\]"),
    ("config.json", ["planner"], None, r"\$\[\.\.\.\]"),
    ("about.json", ["ended_at"], 7, r"\$\.ended_at"),
    ("about.json", ["stages"], {"training": -1}, r"\$\.stages"),
    ("about.json", ["stages"], {"training": 1e300}, r"\$\.stages"),
    ("about.json", ["defaults"], {"run": 1}, r"\$\.defaults"),
    ("about.json", ["machine"], "big", r"\$\.machine"),
    ("about.json", ["versions"], {"torch": 2}, r"\$\.versions"),
    ("evaluation.json", ["methods"], [], r"\$\.methods"),
    ("evaluation.json", ["methods", "model", "auc"], 1.5, r"\$\.methods"),
    ("evaluation.json", ["methods", "model", "auc"], -0.1, r"\$\.methods"),
    ("evaluation.json", ["methods", "model", "auc"], True, "got `bool`"),
    ("evaluation.json", ["methods", "model", "low"], {"auc": "x"}, r"\$\.methods"),
    ("evaluation.json", ["impressions"], -1, r"\$\.impressions"),
    ("evaluation.json", ["impressions"], 10**18, r"\$\.impressions"),
    ("evaluation.json", ["impressions"], 0.5, "got `float`"),
    ("evaluation.json", ["paired", "zero_shot", "auc"], {"mean": 0.1}, "missing required field `low`"),
    ("evaluation.json", ["slices", "history length", 0, "impressions"], None, r"\$\.slices"),
    ("evaluation.json", ["recall", "at"], {"5": 2}, r"\$\.recall\.at"),
    ("evaluation.json", ["alarms"], "none", r"\$\.alarms"),
    ("evaluation.json", ["split", "first"], 20260307, r"\$\.split\.first"),
    ("examples.json", [0], None, r"\$\[0\]"),
    ("examples.json", [0, "history"], {}, r"\$\[0\]\.history"),
    ("examples.json", [0, "candidates", 0, "rank"], -1, r"\$\[0\]\.candidates\[0\]\.rank"),
    ("examples.json", [0, "candidates", 0, "clicked"], 1, r"\$\[0\]\.candidates\[0\]\.clicked"),
    ("examples.json", [0, "auc"], 7, r"\$\[0\]\.auc"),
    ("summary.json", ["ingest", "lines"], -1, r"\$\.ingest\.lines"),
    ("summary.json", ["ingest", "rejected_by_reason"], {"not_json": None}, r"\$\.ingest"),
    ("summary.json", ["news", "items"], "3000", r"\$\.news\.items"),
    ("summary.json", ["training", "seconds"], -1.0, r"\$\.training\.seconds"),
    ("summary.json", ["training", "checkpoint"], None, r"\$\.training\.checkpoint"),
    ("summary.json", ["speed", "naive", "clicks_per_second"], 0, r"\$\.speed"),
    ("summary.json", ["speed"], [], r"\$\.speed"),
    ("summary.json", ["speed", "naive", "rounds"], None, r"\$\.speed.*speed_up_by without the number of rounds"),
    ("summary.json", ["speed", "naive", "speed_up_by"], "moon", r"\$\.speed"),
    ("summary.json", ["speed", "naive", "speed_up_low"], "fast", r"\$\.speed"),
    ("summary.json", ["quality", "model", "auc"], 2, r"its quality, at \$"),
    ("summary.json", ["batches"], {"ratio_to_random": "x"}, r"\$\.batches"),
    ("summary.json", ["stages"], [1], r"\$\.stages"),
]


@pytest.mark.parametrize(("name", "path", "value", "said"), OWN, ids=range(len(OWN)))
def test_impossible_figures_raise_an_error_with_their_position(
    run: Path, name: str, path: list[str | int], value: object, said: str
) -> None:
    def change(raw: Any) -> None:
        for step in path[:-1]:
            raw = raw[step]
        raw[path[-1]] = value

    file = run.parent / name if name == "summary.json" else run / name
    file.write_bytes(changed(file.read_bytes(), change))
    message = refusal(lambda: read_facts(Places(run=run), read_batches=False), str(file), ADVICE)
    assert re.search(said, message), message


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", [*FILES, "metrics.jsonl"])
def test_only_regular_files_are_opened(run: Path, name: str, kind: str) -> None:
    with in_place_of(run / name, ODD_FILES[kind]):
        refusal(lambda: read_facts(Places(run=run), read_batches=False), str(run / name), ADVICE)


LINE = json.dumps(METRICS[0])


@pytest.mark.parametrize("name", [name for name in damaged_texts(LINE.encode()) if name not in ("empty", "blank")])
def test_a_damaged_line_of_metrics_is_reported_with_its_number(run: Path, name: str) -> None:
    text = damaged_texts(LINE.encode())[name].replace(b"\n", b" ")
    (run / "metrics.jsonl").write_bytes(f"{LINE}\n".encode() + text + f"\n{LINE}\n".encode())
    message = refusal(lambda: read_facts(Places(run=run), read_batches=False), "metrics.jsonl", ADVICE)
    assert "metrics.jsonl, line 2" in message


@pytest.mark.parametrize(
    "more",
    [
        {"step": 0}, {"step": 1.5}, {"step": None}, {"steps": 5}, {"epoch": -1}, {"loss": "1"}, {"targets": -3},
        {"targets": 10**18}, {"looked_up_by_age": [-1]}, {"looked_up_by_age": 3}, {"seconds": -1}, {"useful_mfu": {}},
    ],
    ids=str,
)  # fmt: skip
def test_impossible_figures_of_a_line_are_rejected(run: Path, more: dict[str, object]) -> None:
    (run / "metrics.jsonl").write_text(json.dumps(METRICS[0] | more) + "\n")
    refusal(lambda: read_facts(Places(run=run), read_batches=False), "metrics.jsonl, line 1, at $", ADVICE)


def test_a_job_exits_with_2_and_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "evaluation.json").write_text('{"methods": {"model": {"auc": NaN}}}')
    assert run_job(report, ["--run", str(run)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith(
        f"feedloop report: {run / 'evaluation.json'}: no JSON (NaN is no number of JSON). Remove"
    )
    assert output.err.count("\n") == 1
