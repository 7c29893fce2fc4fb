"""Precision: what `auto` resolves to on a device, and the warning for an emulated precision."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from tests.conftest import REPOSITORY
from trainer.cost import precision
from trainer.cost.precision import AskedPrecision, emulation, multiplies_bfloat16, resolved

CPU = torch.device("cpu")
PRESETS = sorted((REPOSITORY / "jobs" / "presets").glob("*.toml"))
PRINT_EMULATION = (
    "import torch; from trainer.cost.precision import *; print(emulation('bfloat16', torch.device('cpu')))"
)


@pytest.mark.parametrize(
    ("asked", "device", "able", "taken"),
    [
        ("auto", "cuda", True, "bfloat16"),
        ("auto", "cuda", False, "float32"),
        ("auto", "cpu", True, "float32"),
        ("native", "cpu", True, "bfloat16"),
        ("native", "cpu", False, "float32"),
        ("native", "cuda", True, "bfloat16"),
        ("float32", "cuda", True, "float32"),
        ("bfloat16", "cpu", False, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_on_a_gpu_that_multiplies_it_and_a_choice_stands(
    monkeypatch: pytest.MonkeyPatch,
    asked: AskedPrecision,
    device: str,
    able: bool,
    taken: str,
) -> None:
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda _: able)
    assert resolved(asked, torch.device(device)) == taken


def test_torch_finds_in_the_processor_what_its_flags_say() -> None:
    cpuinfo = Path("/proc/cpuinfo")
    flags = set(cpuinfo.read_text().partition("flags")[2].partition("\n")[0].split()) if cpuinfo.is_file() else set()
    if not flags or any("MAX_CPU_ISA" in name for name in os.environ):
        pytest.skip("no flags of a processor to compare with, or oneDNN is held back")
    assert multiplies_bfloat16(CPU) == bool(flags & {"avx512_bf16", "amx_bf16"})
    assert (emulation("bfloat16", CPU) is None) == multiplies_bfloat16(CPU)
    assert emulation("float32", CPU) is None


def test_a_processor_that_emulates_bfloat16_gets_a_warning() -> None:
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DNNL_MAX_CPU_ISA": "AVX2"}
    said = subprocess.run(
        [sys.executable, "-c", PRINT_EMULATION], env=env, capture_output=True, text=True, check=True
    ).stdout
    assert "bfloat16 is emulated here, as this cpu lacks avx512_bf16 or amx" in said


@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_preset_leaves_the_precision_to_the_device(preset: Path) -> None:
    assert tomllib.loads(preset.read_text())["run"]["precision"] == "native"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_multiplies_bfloat16_from_capability_8_on() -> None:
    device = torch.device("cuda")
    assert multiplies_bfloat16(device) == (torch.cuda.get_device_capability(device) >= (8, 0))
