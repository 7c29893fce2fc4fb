"""evaluate, export_embeddings, recommend and report with every place behind a URL tell what they tell of local ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.cli.command_line import run
from jobs.evaluate import evaluate
from jobs.export_embeddings import export_embeddings
from jobs.inspect_batches import inspect_batches
from jobs.recommend import recommend
from jobs.report import report
from jobs.train import train
from schemas.storage.copies import fetch, publish
from schemas.storage.files import below, read, write
from schemas.storage.place import Place
from tests.exported import SOURCE, config_of, write_logs, write_news
from tests.jobs.page.runs import run_folder
from tests.packed import packed_directory, tiny_plm
from trainer.eval.impressions import TRUTH_COLUMNS

Told = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed directory, its lake, the truth of its clicks, and a run with one checkpoint."""
    folder = tmp_path_factory.mktemp("everywhere")
    packed_directory(folder / "packed", items=30, unlabelled=6, config={"source": SOURCE})
    write_news(folder / "lake", 30)
    write_logs(folder / "lake", [("u1", 1, "n5 n6", "n6"), ("u2", 0, "n5 x9", "x9")], {"u1": "n1"})
    plm = tiny_plm(folder / "plm")
    assert train(data=folder / "packed", out=Place.of(folder / "run"), config=config_of(plm), device="cpu") is not None
    table = pq.read_table(folder / "packed" / "evaluation")
    shown = table["shown_id"].to_pylist()
    columns = {name: table[name] for name in TRUTH_COLUMNS[:3]} | {"shown": shown}
    pq.write_table(pa.table({**columns, "probability": [[0.25] * len(ids) for ids in shown]}), folder / "truth.parquet")
    return folder


@pytest.fixture
def there(made: Path, bucket: str) -> str:
    """The same behind a URL."""
    for name in ("lake", "run", "truth.parquet"):
        publish(made / name, Place(f"{bucket}/{name}"))
    return bucket


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Run a job in an empty folder, which stays empty, and give its summary."""
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")

    def summary(job: Any, *words: object) -> dict[str, Any]:
        code = run(job, [*map(str, words)])
        said = capsys.readouterr()
        assert code == 0, said.err
        assert list((tmp_path / "empty").iterdir()) == []
        return dict(json.loads(said.out.splitlines()[-1]))

    return summary


def newest(made: Path) -> Path:
    return max((made / "run" / "checkpoint").glob("step-*"))


def text(place: str) -> str:
    return read(Place(place), largest=1 << 30).decode()


def test_evaluate(made: Path, there: str, told: Told, tmp_path: Path) -> None:
    def words(at: object, out: object) -> list[object]:
        named = {"checkpoint": "run/checkpoint", "lake": "lake", "truth": "truth.parquet"}
        given = [word for option, name in named.items() for word in (f"--{option}", f"{at}/{name}")]
        return [*given, "--data", made / "packed", "--predictions", f"{out}/told/mind.txt"]

    here = told(evaluate, *words(made, tmp_path))
    remote = told(evaluate, *words(there, there))
    assert here.pop("checkpoint") == str(newest(made))
    assert remote.pop("checkpoint") == f"{there}/run/checkpoint/{newest(made).name}"
    assert remote == here
    assert "oracle" in remote["methods"]
    assert "category" in remote["methods"]
    assert json.loads(text(f"{there}/run/examples.json")) == json.loads((made / "run" / "examples.json").read_text())
    assert json.loads(text(f"{there}/run/evaluation.json"))["methods"] == here["methods"]
    for name in ("mind.txt", "mind.zip", "mind.ebnerd.zip"):
        found = read(Place(f"{there}/told/{name}"), largest=1 << 20)
        assert found == (tmp_path / "told" / name).read_bytes()
    elsewhere = told(evaluate, *words(there, there), "--out", f"{there}/other/figures.json")
    assert json.loads(text(f"{there}/other/figures.json")) == elsewhere


def test_export_and_recommend(made: Path, there: str, told: Told, tmp_path: Path) -> None:
    def both(job: Any, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The summaries of the job, here and there; {} is where its places are."""
        given = [word.format(made) for word in words]
        here = told(job, *[word.replace(f"{made}/out", f"{tmp_path}/out") for word in given])
        remote = told(job, *[word.format(there) for word in words])
        return here, remote

    data = ("--data", str(made / "packed"))
    exported = ("--checkpoint", "{}/run/checkpoint", *data, "--out", "{}/out/one")
    here, remote = both(export_embeddings, *exported)
    untimed = {"made_at", "embeddings"}
    assert {k: v for k, v in remote.items() if k not in untimed} == {k: v for k, v in here.items() if k not in untimed}
    assert (remote["encoded"], remote["embeddings"]) == (30, "embeddings")
    again = told(export_embeddings, *[word.format(there) for word in exported])
    assert (again["encoded"], again["made_at"]) == (0, remote["made_at"])
    fetch(Place(f"{there}/out/one"), tmp_path / "fetched")
    for file in (tmp_path / "out" / "one").rglob("*"):
        if file.is_file() and file.name != "export.json" and "embeddings" not in file.parts:
            assert (tmp_path / "fetched" / file.relative_to(tmp_path / "out" / "one")).read_bytes() == file.read_bytes()
    here, remote = both(export_embeddings, *exported[:-1], "{}/out/two", "--lake", "{}/lake", "--index", "hnsw")
    assert remote["embeddings"] == f"{there}/lake/embeddings"
    assert remote["tables"] == here["tables"]
    logs = ("--export", "{}/out/two", "--lake", "{}/lake")
    for asked in (("--user", "u1"), ("--clicked", "n1", "--shown-on", "2026-01-01"), ("--clicked", "n2")):
        here, remote = both(recommend, *logs, *asked)
        assert remote == here
        assert remote["news"]


def test_report_and_inspect(made: Path, bucket: str, told: Told, tmp_path: Path) -> None:
    run_at = run_folder(tmp_path, without=("about.json",))
    publish(run_at, Place(f"{bucket}/runs/{run_at.name}"))
    publish(run_at.parent / "summary.json", Place(f"{bucket}/elsewhere.json"))
    told(report, "--run", run_at, "--out", tmp_path / "page.html", "--summary", run_at.parent / "summary.json")
    remote = told(report, "--run", f"{bucket}/runs/{run_at.name}", "--summary", f"{bucket}/elsewhere.json")
    assert remote["page"] == f"{bucket}/runs/{run_at.name}/report.html"
    page = text(remote["page"])
    assert "feedloop-page-" not in page
    assert f"--run {bucket}/runs/{run_at.name}" in page or f"--run {run_at}" not in page
    told(inspect_batches, "--data", made / "packed", "--plot", f"{bucket}/plots/packed.png")
    assert read(Place(f"{bucket}/plots/packed.png"), largest=1 << 24)[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("job", "words", "message"),
    [
        (evaluate, "--checkpoint {b}/none --data {m}/packed", "{b}/none: no state.json, so this is no checkpoint"),
        (evaluate, "--checkpoint {b}/half --data {m}/packed", "{b}/half: no state.json, so this is no checkpoint"),
        (
            evaluate,
            "--checkpoint {b}/run/checkpoint --data {m}/packed --lake {b}/none",
            "{b}/none/item_tokens: no Delta table",
        ),
        (
            evaluate,
            "--checkpoint {b}/run/checkpoint --data {m}/packed --truth {b}/none",
            "{b}/none: there is no such file",
        ),
        (
            evaluate,
            "--checkpoint {b}/run/checkpoint --data {m}/packed --truth {b}/run/config.json",
            "{b}/run/config.json: no Parquet file with",
        ),
        (
            evaluate,
            "--checkpoint {b}/mine --data {m}/packed",
            "{b}/mine stands outside of the folder of a",
        ),
        (recommend, "--export {b}/none --clicked n1", "{b}/none: no export.json, so this is no export"),
        (recommend, "--export {b}/run --clicked n1", "{b}/run: no export.json, so this is no export"),
        (
            export_embeddings,
            "--checkpoint {b}/run/checkpoint --data {m}/packed --out {b}/half",
            "{b}/half: exists and is no export",
        ),
        (
            export_embeddings,
            "--checkpoint {b}/run/checkpoint --data {m}/packed --out {b}/new --lake {b}/none",
            "--lake {b}/none: there is no such folder",
        ),
        (report, "--run {b}/none", "--run {b}/none: no config.json, so it is no training run"),
        (evaluate, "--checkpoint {b}/run/checkpoint --data {m}/packed --store {b}/x", "--store takes no other"),
    ],
)
def test_what_is_not_there_or_something_else_is_told_by_its_url(
    made: Path, there: str, capsys: pytest.CaptureFixture[str], job: Any, words: str, message: str
) -> None:
    write(Place(f"{there}/half/model.safetensors"), b"")
    publish(newest(made), Place(f"{there}/mine"))
    before = [name for name, _ in below(Place(there))]
    assert run(job, words.format(b=there, m=made).split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert message.format(b=there) in said
    assert "Traceback" not in said
    assert [name for name, _ in below(Place(there))] == before
