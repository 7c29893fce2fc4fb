"""evaluate as a user runs it, in processes where pyspark cannot be imported: its figures, its files, its ranks."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from jobs.cli.command_line import run
from jobs.evaluate import evaluate
from tests.conftest import REPOSITORY
from tests.packed import BASELINES, packed_directory, tiny_plm
from tests.trainer.eval.prediction_checker import complaints
from trainer.checkpoint.retention import resolve_checkpoint

ITEMS = 30


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a packed directory, the lake it could have come from, a model trained on it, and no Spark."""
    folder = tmp_path_factory.mktemp("evaluate")
    packed_directory(folder / "packed", items=ITEMS, unlabelled=6, config={"source": "p"})
    packed_directory(folder / "labelled", items=ITEMS)
    tiny_plm(folder / "plm")
    rows = range(1, ITEMS + 1)
    ids = [f"n{row}" for row in rows]
    items = {"source": ["p"] * ITEMS, "item_row": [*rows], "item_id": ids, "canonical_row": [*rows]}
    texts = {"category": [f"c{row % 3}" for row in rows], "subcategory": [""] * ITEMS}
    texts["title"] = [f"T{row}" for row in rows]
    write_deltalake(str(folder / "lake" / "item_tokens"), pa.table(items))
    write_deltalake(str(folder / "lake" / "news"), pa.table({"source": ["p"] * ITEMS, "news_id": ids, **texts}))
    (folder / "blocked").mkdir()
    (folder / "blocked" / "pyspark.py").write_text("raise ImportError('no Spark here')\n")
    options = ["--encoder.plm", folder / "plm", "--encoder.frozen-layers", 1]
    trained = job(folder, "train", "--data", folder / "packed", "--out", folder / "run", *options)
    assert trained.returncode == 0, trained.stderr
    return folder


def job(made: Path, name: str, *options: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{made / 'blocked'}:{REPOSITORY}", "HF_HUB_OFFLINE": "1"}
    environment |= {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", f"jobs.{name}", *map(str, options)]
    return subprocess.run(command, cwd=made, env=environment, capture_output=True, text=True, check=False)


def evaluated(made: Path, *options: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    given = ("--checkpoint", made / "run" / "checkpoint", "--data", made / "packed", *options)
    done = job(made, "evaluate", *given, launcher=launcher)
    assert done.returncode == 0, done.stderr
    return done


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("{"))  # gloo speaks there too
    return dict(json.loads(line))


@pytest.fixture(scope="module")
def evaluation(made: Path) -> subprocess.CompletedProcess[str]:
    return evaluated(made, "--lake", made / "lake", "--predictions", made / "predictions" / "mind.txt")


def test_every_method_is_reported_with_its_interval(made: Path, evaluation: subprocess.CompletedProcess[str]) -> None:
    found = summary_of(evaluation)
    assert list(found["methods"]) == ["model", *BASELINES]
    for figures in found["methods"].values():
        assert all(figures["low"][m] <= figures[m] <= figures["high"][m] for m in ("auc", "mrr", "ndcg5", "ndcg10"))
    assert found["impressions"] == 20
    assert found["recall"]["at"]["100"] == 1
    for words in ("this model", "newest first", "category match", "AUC less zero-shot's", "2026-03-07 to 2026-03-08"):
        assert words in evaluation.stderr
    assert all(sentence.split(":")[0] in " ".join(evaluation.stderr.split()) for sentence in found["alarms"])


def test_the_figures_and_examples_lie_in_the_runs_folder(
    made: Path, evaluation: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    found = summary_of(evaluation)
    assert json.loads((made / "run" / "evaluation.json").read_text()) == found
    assert found["checkpoint"] == str(made / "run" / "checkpoint" / f"step-{found['step']:08d}")
    examples = json.loads((made / "run" / "examples.json").read_text())
    assert len(examples) == 20
    assert examples[0]["candidates"][0]["title"] == "T" + examples[0]["candidates"][0]["id"].removeprefix("n")
    elsewhere = summary_of(evaluated(made, "--out", tmp_path / "other.json"))
    assert json.loads((tmp_path / "other.json").read_text()) == elsewhere
    assert not (tmp_path / "examples.json").exists()
    assert elsewhere["methods"]["model"] == found["methods"]["model"]


def test_a_checkpoint_outside_of_its_run_asks_where_the_figures_belong(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "a" / "b" / "mine"
    shutil.copytree(resolve_checkpoint(made / "run" / "checkpoint"), moved)
    given = ["--checkpoint", str(moved), "--data", str(made / "packed")]
    assert run(evaluate, given) == 2
    assert "outside of the folder of a training run: name a file for its figures, --out" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*") if path.is_file() and path.parent != moved] == []
    assert run(evaluate, [*given, "--out", str(tmp_path / "figures.json")]) == 0
    assert json.loads((tmp_path / "figures.json").read_text())["checkpoint"] == str(moved)


def test_predictions_are_what_minds_site_takes(made: Path, evaluation: subprocess.CompletedProcess[str]) -> None:
    log = raw_log(made / "behaviors_unlabelled.tsv.gz", made / "packed")
    file = made / "predictions" / "mind.txt"
    assert complaints(file, log) == []
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], lines[2].replace("6", "5"), *lines[4:], lines[0], "1 [ 1]"]) + "\n")
    wrong = complaints(file, log)
    for words in ("no permutation of 22", "no line for 23", "20 again", "'1 [ 1]'", "the .zip holds something else"):
        assert any(words in complaint for complaint in wrong), wrong


def raw_log(path: Path, packed: Path) -> Path:
    """The unlabelled impressions as MIND writes them, under each of their ids."""
    table = pa.concat_tables(pq.read_table(file) for file in sorted((packed / "evaluation").iterdir()))
    with gzip.open(path, "wt") as stream:
        for row in table.to_pylist():
            if row["clicked"] is None:
                for name in (row["impression_id"], *row["also_seen_as"]):
                    fields = [name, row["user_id"], "11/14/2019 1:00:00 AM", "", " ".join(row["shown_id"])]
                    stream.write("\t".join(fields) + "\n")
    return path


def test_torchrun_reports_the_same_once(
    made: Path, evaluation: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = evaluated(made, "--lake", made / "lake", "--out", tmp_path / "two.json", launcher=launcher)
    found, alone = summary_of(done), summary_of(evaluation)
    del alone["left_out"], found["left_out"]
    assert found == alone
    assert done.stderr.count("done evaluation") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--predictions", "x.txt", "--data", "labelled"), "--predictions, but every evaluation impression carries"),
        (("--lake", "nowhere"), "item_tokens: no Delta table"),
        (("--truth", "nothing.parquet"), "nothing.parquet: no Parquet file"),
        (("--checkpoint", "nowhere"), "no state.json, so this is no checkpoint"),
    ],
    ids=["predictions", "lake", "truth", "checkpoint"],
)
def test_bad_input_is_one_message_and_exit_code_2(
    made: Path, options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {"--checkpoint": made / "run" / "checkpoint", "--data": made / "packed"}
    given |= {name: made / value for name, value in zip(options[::2], options[1::2], strict=True)}
    assert run(evaluate, [str(word) for pair in given.items() for word in pair]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out
    assert not (made / "x.txt").exists()
