"""train and the benchmarks as a user runs them, in processes where pyspark cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.packed import packed_directory, tiny_plm
from trainer.encode.policies import Policy

POLICIES = list(get_args(Policy))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a packed directory, a language model, and a module `pyspark` that refuses to load."""
    folder = tmp_path_factory.mktemp("train")
    packed_directory(folder / "packed")
    tiny_plm(folder / "plm")
    (folder / "blocked").mkdir()
    (folder / "blocked" / "pyspark.py").write_text("raise ImportError('no Spark here')\n")
    return folder


def job(made: Path, name: str, *options: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{made / 'blocked'}:{REPOSITORY}", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"jobs.{name}", *map(str, options)]
    return subprocess.run(command, cwd=made, env=environment, capture_output=True, text=True, check=False)


def small(made: Path) -> dict[str, object]:
    return {"--encoder.plm": made / "plm", "--encoder.frozen-layers": 1, "--run.epochs": 2}


def words(options: dict[str, object]) -> list[object]:
    return [word for pair in options.items() for word in pair]


@pytest.fixture(scope="module")
def trained(made: Path) -> dict[str, object]:
    done = job(made, "train", "--data", made / "packed", "--out", made / "run", *words(small(made)))
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_pyspark_is_really_blocked(made: Path) -> None:
    done = job(made, "ingest", "--logs", made, "--lake", made / "lake")
    assert done.returncode == 1
    assert "no Spark here" in done.stderr


def test_training_leaves_checkpoint_config_and_metrics(made: Path, trained: dict[str, object]) -> None:
    lines = [json.loads(line) for line in (made / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == lines[-1]["steps"] == trained["steps"] == 24
    assert json.loads((made / "run" / "config.json").read_text())["run"]["epochs"] == 2
    assert trained["checkpoint"] == str(made / "run" / "checkpoint" / "step-00000024")
    assert sorted(path.name for path in (made / "run" / "checkpoint" / "step-00000024").iterdir()) == [
        "model.safetensors",
        "optimiser.safetensors",
        "planner-0.safetensors",
        "random-0.safetensors",
        "state.json",
        "table-0.safetensors",
        "tokens.safetensors",
    ]


def test_training_leaves_its_page_and_where_it_was_made(made: Path, trained: dict[str, object]) -> None:
    page = (made / "run" / "report.html").read_text()
    assert "Content-Security-Policy" in page
    assert 'id="chart-over-loss"' in page
    assert "Missing from this page" in page
    about = json.loads((made / "run" / "about.json").read_text())
    assert (about["data"], about["device"]) == (str(made / "packed"), "cpu")
    assert about["defaults"]["run"]["epochs"] == 1
    assert set(about["stages"]) == {"frozen layers, once per news", "training"}


def test_a_page_that_cannot_be_written_is_reported_and_the_training_is_complete(made: Path) -> None:
    (made / "no page" / "report.html").mkdir(parents=True)
    options = words({**small(made), "--run.epochs": 1})
    done = job(made, "train", "--data", made / "packed", "--out", made / "no page", *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["complete"]
    assert "no page of this run: " in done.stderr
    assert "report.html" in done.stderr.partition("no page of this run: ")[2]


def test_memory_is_reported_for_each_policy(made: Path, trained: dict[str, object]) -> None:
    options = ("--checkpoint", trained["checkpoint"], "--data", made / "packed", "--repeats", 1)
    done = job(made, "bench.memory", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["memory_ratio"]["naive"] == found["throughput_ratio"]["once"] == 1
    assert 0 < found["peak_bytes"]["once"] < found["peak_bytes"]["naive"]


def test_the_chain_compares_arms_over_seeds_and_goes_on_where_it_stopped(made: Path) -> None:
    (made / "chain.toml").write_text(f"[encoder]\nplm = '{made / 'plm'}'\nfrozen_layers = 1\n")
    options = ("--full", made / "packed", "--out", made / "chain", "--preset", made / "chain.toml", "--seeds", 1)
    arms = ("--arms", "naive", "--arms", "accumulated")
    done = job(made, "bench.chain", *options, *arms)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["arms"]
    assert found["naive"]["auc_minus_first"] == 0
    assert found["accumulated"]["encoded_per_1000_clicks"] < found["naive"]["encoded_per_1000_clicks"]
    assert len(found["accumulated"]["auc"]) == 1
    again = job(made, "bench.chain", *options, *arms)
    assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]
    refused = job(made, "bench.chain", *options, "--arms", "nonce")
    assert refused.returncode == 2
    assert "--arms names ['nonce']" in refused.stderr


def test_the_benchmark_times_every_policy_on_the_same_targets(made: Path, trained: dict[str, object]) -> None:
    done = job(made, "bench.encode_once", "--checkpoint", trained["checkpoint"], "--data", made / "packed")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == POLICIES
    single, windows = POLICIES[:3], POLICIES[3:]  # a window's backward comes with its last step
    assert len({found[policy]["targets"] for policy in single}) == 1
    assert all(found[policy]["targets"] > found["once"]["targets"] for policy in windows)
    per_click = {policy: figures["encoded"] / figures["targets"] for policy, figures in found.items()}
    # Users here have about one target each, so that a step per target repeats no history, and leaves out unused news.
    assert min(per_click["naive_per_target"], per_click["naive"]) > per_click["once"] > 0
    assert per_click["naive"] > per_click["cached"] > 0  # its windows are other steps than those of `once`
    assert {figures["rounds"] for figures in found.values()} == {5}
    for figures in found.values():
        assert 0 < figures["speed_up_low"] <= figures["speed_up_high"]
        assert figures["speed_up"] is None or figures["speed_up_low"] <= figures["speed_up"] <= figures["speed_up_high"]
    refused = job(made, "bench.encode_once", "--checkpoint", "x", "--data", "y", "--rounds", 0)
    assert (refused.returncode, "--rounds is 0" in refused.stderr) == (2, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--data", "nowhere"), "nowhere: no manifest.json"),
        (("--encoder.plm", "nothing/here"), "plm 'nothing/here' does not load"),
        (("--planner.max-age", "3"), "max-age"),
        (("--planner.max-age-steps", "-2"), "planner.max_age_steps is -2"),
        (("--encoder.frozen-layers", "7"), "this PLM has 2 layers"),
        (("--device", "cuda"), "torch sees no GPU here"),
    ],
    ids=["data", "plm", "option", "value", "layers", "device"],
)
def test_bad_input_is_one_message_and_exit_code_2(made: Path, options: tuple[str, str], message: str) -> None:
    if "cuda" in options and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    given: dict[str, object] = {"--data": made / "packed", "--out": made / "refused", **small(made)}
    done = job(made, "train", *words(given | dict([options])))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (made / "refused").exists()


def test_a_run_is_never_written_over(made: Path, trained: dict[str, object]) -> None:
    done = job(made, "train", "--data", made / "packed", "--out", made / "run", *words(small(made)))
    assert done.returncode == 2
    assert "holds a training run. Add --resume auto" in done.stderr
