"""Training to a URL: killed at any moment, it resumes bit for bit on a machine without any file of the run."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs.cli.command_line import run
from jobs.train import train
from schemas.storage.copies import fetch
from schemas.storage.files import below, write
from schemas.storage.place import Place
from tests.jobs import trainings
from tests.jobs.trainings import once
from tests.packed import packed_directory, tiny_plm
from tests.trainer.loop.test_metrics_log import timeless

STEPS, EVERY = 48, 7
LAUNCHER = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bucket")
    packed_directory(folder / "packed", trajectories=96)
    tiny_plm(folder / "plm", dropout=0.1)
    return folder


def begin(made: Path, machine: str, out: str, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`machine`: its folder for temporary files."""
    (made / machine).mkdir(exist_ok=True)
    length = ["--run.epochs", "2", "--run.save-every-steps", str(EVERY)]
    own = {"OMP_NUM_THREADS": "1", "TMPDIR": str(made / machine)}
    return trainings.begin(made, out, *length, *options, launcher=launcher, **own)


def finished(process: subprocess.Popen[str]) -> dict[str, Any]:
    return trainings.finished(process)[0]


def lines_on(machine: Path) -> int:
    """Steps that a run has logged in its folder for temporary files."""
    return sum(file.read_bytes().count(b"\n") for file in machine.glob("feedloop-run-*/run/*/metrics.jsonl"))


def trace(out: Path) -> list[dict[str, Any]]:
    return [timeless(json.loads(line)) for line in (out / "metrics.jsonl").read_text().splitlines()]


def files(out: Path) -> dict[str, bytes]:
    """Everything in the last checkpoints that does not depend on the clock."""
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.safetensors")}


def fetched_run(place: str, to: Path) -> Path:
    fetch(Place(place), to)
    return to


@pytest.fixture(scope="module")
def reference(made: Path) -> Path:
    """An uninterrupted local run."""
    assert finished(begin(made, "here", "reference"))["steps"] == STEPS
    return made / "reference"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_anywhere_another_machine_goes_on_to_the_bit(
    made: Path, reference: Path, bucket: str, tmp_path: Path, seed: int
) -> None:
    out, machine, kill_at = f"{bucket}/run", f"one-{seed}", random.Random(seed).randrange(EVERY + 1, STEPS - 3)
    process = begin(made, machine, out)
    once(lambda: lines_on(made / machine) >= kill_at, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL, "it ended before it was killed"
    summary = finished(begin(made, f"two-{seed}", out, "--resume", "auto"))
    assert summary["checkpoint"] == f"{out}/checkpoint/step-{STEPS:08d}"
    assert summary["complete"]
    assert str(summary["gone_on_from"]).startswith(("None", f"{out}/checkpoint/step-"))
    assert_equal(fetched_run(out, tmp_path / "run"), reference)
    assert not (made / "s3:").exists()
    assert not list((made / f"two-{seed}").glob("feedloop-*"))


def assert_equal(out: Path, reference: Path) -> None:
    assert trace(out) == trace(reference)
    assert files(out) == files(reference)
    ours, theirs = ({path.relative_to(at).parts[0] for path in at.rglob("*")} for at in (out, reference))
    assert ours == theirs - {"_locks"}
    assert "feedloop-run-" not in (out / "report.html").read_text()


def test_killed_while_a_checkpoint_is_sent_it_goes_on_from_the_one_before(
    made: Path, reference: Path, bucket: str, tmp_path: Path
) -> None:
    out = f"{bucket}/run"
    second = f"checkpoint/step-{2 * EVERY:08d}/"
    process = begin(made, "sending", out)
    once(lambda: any(name.startswith(second) for name, _ in below(Place(out))), process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=600)
    assert process.returncode == -signal.SIGKILL
    summary = finished(begin(made, "after", out, "--resume", "auto"))
    assert summary["gone_on_from"] is not None
    assert_equal(fetched_run(out, tmp_path / "run"), reference)


@pytest.mark.slow
def test_two_processes_train_to_a_url_and_one_goes_on(made: Path, bucket: str, tmp_path: Path) -> None:
    finished(begin(made, "local", "two-reference", launcher=LAUNCHER))
    out = f"{bucket}/run"
    process = begin(made, "both", out, launcher=LAUNCHER)
    once(lambda: lines_on(made / "both") >= 12, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert finished(begin(made, "others", out, "--resume", "auto", launcher=LAUNCHER))["complete"]
    there = fetched_run(out, tmp_path / "run")
    assert trace(there) == trace(made / "two-reference")
    assert files(there) == files(made / "two-reference")


def test_what_cannot_be_is_reported_by_the_url_and_leaves_nothing(
    made: Path, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    given = ["--data", str(made / "packed"), "--out", f"{bucket}/run", "--encoder.plm", str(made / "plm")]
    for options, message in (
        (
            ("--init-from", f"{bucket}/nothing", "--encoder.frozen-layers", "1"),
            f"{bucket}/nothing: no state.json, so this is no checkpoint",
        ),
        (("--store", f"{bucket}/frozen"), "--store takes no other"),
        (("--encoder.frozen-layers", "7"), "this PLM has 2 layers"),
    ):
        assert run(train, [*given, *options]) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert run(train, [*given, "--encoder.frozen-layers", "1", "--dry-run"]) == 0
    write(Place(f"{bucket}/run/config.json"), b"{}")
    assert run(train, given) == 2
    assert f"{bucket}/run: holds a training run. Add --resume auto" in capsys.readouterr().err
    assert [name for name, _ in below(Place(bucket))] == ["run/config.json"]
    assert not list(tmp_path.glob("feedloop-*"))
