"""run.precision native and auto as a user sees them: resolved, recorded, kept by a run resumed elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import REPOSITORY
from tests.packed import packed_directory, tiny_plm
from trainer.cost.precision import multiplies_bfloat16

OLDER = {"DNNL_MAX_CPU_ISA": "AVX2"}  # the same machine with a processor that multiplies no bfloat16
HERE = "bfloat16" if multiplies_bfloat16(torch.device("cpu")) else "float32"
EMULATED = "bfloat16 is emulated here"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("precision")
    packed_directory(folder / "packed")
    tiny_plm(folder / "plm")
    (folder / "native.toml").write_text("[run]\nprecision = 'native'\n[encoder]\nplm = 'plm'\nfrozen_layers = 1\n")
    return folder


def train(made: Path, out: str, *options: str, machine: dict[str, str]) -> tuple[dict[str, Any], str]:
    command = [sys.executable, "-m", "jobs.train", "--data", "packed", "--out", out, "--device", "cpu"]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1", **machine}
    all_options = ["--config", "native.toml", *options]
    done = subprocess.run([*command, *all_options], cwd=made, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1])), " ".join(done.stderr.split())


def recorded(made: Path, out: str, summary: dict[str, Any]) -> set[str]:
    """The precision that the run records, in each place."""
    read = [json.loads((made / out / name).read_text()) for name in ("about.json", "config.json")]
    state = json.loads((made / summary["checkpoint"] / "state.json").read_text())
    return {
        summary["precision"],
        read[0]["precision"],
        read[1]["run"]["precision"],
        state["config"]["run"]["precision"],
    }


@pytest.mark.parametrize(
    ("out", "machine", "elsewhere", "taken"),
    [("a", {}, OLDER, HERE), pytest.param("b", OLDER, {}, "float32", marks=pytest.mark.slow)],
)
def test_native_is_recorded_and_a_run_that_goes_on_elsewhere_keeps_it(
    made: Path, out: str, machine: dict[str, str], elsewhere: dict[str, str], taken: str
) -> None:
    summary, said = train(made, out, machine=machine)
    assert recorded(made, out, summary) == {taken}
    assert f"precision = {taken}" in said
    assert EMULATED not in said
    again, said = train(made, out, "--resume", "auto", machine=elsewhere)
    assert (again["gone_on_from"], again["precision"]) == (summary["checkpoint"], taken)
    assert recorded(made, out, again) == {taken}
    assert (EMULATED in said) == ("Begin with --run.precision auto or float32" in said) == (taken == "bfloat16")


def test_auto_is_float32_on_a_cpu(made: Path) -> None:
    summary, said = train(made, "auto", "--run.precision", "auto", "--dry-run", machine={})
    assert summary["precision"] == "float32"
    assert EMULATED not in said


@pytest.mark.slow
def test_an_emulated_bfloat16_that_was_chosen_is_reported_with_the_way_out(made: Path) -> None:
    summary, said = train(made, "c", "--run.precision", "bfloat16", "--dry-run", machine=OLDER)
    assert summary["precision"] == "bfloat16"
    assert f"{EMULATED}, as this cpu lacks avx512_bf16 or amx" in said
    assert "Begin with --run.precision auto or float32" in said
