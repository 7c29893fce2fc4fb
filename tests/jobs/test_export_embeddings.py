"""export_embeddings as a user runs it: without Spark, killed, and on what is not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jobs.cli.command_line import run
from jobs.export_embeddings import export_embeddings
from tests.conftest import REPOSITORY
from tests.exported import SOURCE, checkpoint_at, config_of, write_news
from tests.packed import packed_directory, tiny_plm
from trainer.serve.export_files import earlier_export
from trainer.serve.opened_export import Export


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed directory, its lake, two runs, and a module `pyspark` that refuses to load."""
    folder = tmp_path_factory.mktemp("export")
    packed_directory(folder / "packed", items=30, config={"source": SOURCE})
    write_news(folder / "lake", 30)
    config = config_of(tiny_plm(folder / "plm"))
    for seed, name in enumerate(("first", "second")):
        checkpoint_at(folder / name / "checkpoint" / f"step-{7 + seed:08d}", config, seed=seed)
    (folder / "blocked").mkdir()
    (folder / "blocked" / "pyspark.py").write_text("raise ImportError('no Spark here')\n")
    return folder


def options(made: Path, *, name: str = "first", out: str = "out", **more: object) -> list[str]:
    given = {"checkpoint": made / name / "checkpoint", "data": made / "packed", "out": made / out, **more}
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]


def start(made: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{made / 'blocked'}:{REPOSITORY}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "jobs.export_embeddings", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_vectors_index_and_encoders_are_made_without_spark(made: Path) -> None:
    done = start(made, *options(made, lake=made / "lake"))
    said, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    told = json.loads(said.splitlines()[-1])
    assert (told["encoded"], told["news"], told["index"]["kind"]) == (30, 30, "flat")
    assert told["embeddings"] == str(made / "lake" / "embeddings")
    assert sorted(path.name for path in (made / "out").iterdir()) == [
        "encoder", "export.json", "index.faiss", "news.parquet", "user.safetensors",
    ]  # fmt: skip
    assert "feedloop_encoder.py" in {path.name for path in (made / "out" / "encoder").iterdir()}


def test_killed_while_writing_the_earlier_export_stays_whole(made: Path) -> None:
    assert run(export_embeddings, options(made, out="killed")) == 0
    before = Export.open(made / "killed").record
    running = start(made, *options(made, name="second", out="killed"))
    partial = made / ".killed.incomplete"
    while running.poll() is None and not partial.exists():
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    if partial.exists():  # killed before the last rename
        assert earlier_export(made / "killed") == before
        assert Export.open(made / "killed").index.ntotal == 30
    assert run(export_embeddings, options(made, name="second", out="killed")) == 0
    after = Export.open(made / "killed")
    assert (after.record.step, after.index.ntotal) == (8, 30)
    assert not partial.exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"lake": "nowhere"}, "--lake nowhere: there is no such folder. Name the lake"),
        ({"name": "none"}, "no state.json, so this is no checkpoint"),
        ({"out": "packed"}, "exists and is no export. Name another --out"),
        ({"index": "tree"}, "tree"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(
    made: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, str], message: str
) -> None:
    assert run(export_embeddings, options(made, **wrong)) == 2  # type: ignore[arg-type]
    assert message in capsys.readouterr().err


def test_a_lake_that_is_not_the_datas_is_refused(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_news(made / "larger", 40)
    assert run(export_embeddings, options(made, out="other", lake=made / "larger")) == 2
    assert "another lake" in capsys.readouterr().err
    assert not (made / "other").exists()
    shutil.rmtree(made / "larger")
