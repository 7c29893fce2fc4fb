"""A run's files reach the URL of --out complete or not at all, wherever sending is interrupted."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import InputError
from schemas.storage.files import below, read, write
from schemas.storage.place import Place
from tests.broken_store import killed_at
from trainer.checkpoint.files import Checkpoint, save_checkpoint
from trainer.checkpoint.mirror import Mirror
from trainer.checkpoint.resolve import found_checkpoint
from trainer.checkpoint.retention import Best, Checkpoints
from trainer.checkpoint.turn import Turn
from trainer.checkpoint.working_folder import working_folder
from trainer.ranks.process_group import ALONE

CONFIG = {"config": {}, "frozen_sha256": "0" * 64}


def checkpoint(step: int, *, epoch: int = 0, number: float | None = None) -> Checkpoint:
    value = float(step) if number is None else number
    tensors = {part: {"weight": torch.full((3,), value)} for part in ("model", "random-0")}
    position = {"epoch": epoch, "epoch_step": 0, "step": step}
    return Checkpoint(tensors=tensors, state={**CONFIG, "position": position})


def metrics(run: Path, step: int) -> None:
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": step}) + "\n")


def mirrored(tmp_path: Path, name: str, place: Place) -> tuple[Path, Mirror, Checkpoints]:
    """A run's new folder, its mirror to the place, and its checkpoints, of which it keeps two and the best."""
    run = tmp_path / name / "run"
    run.mkdir(parents=True)
    mirror = Mirror(run, place, tmp_path / name / "going")
    return run, mirror, Checkpoints(run / "checkpoint", 2, ALONE, mirror)


def names(place: Place) -> list[str]:
    return [name for name, _ in below(place)]


def story(run: Path, mirror: Mirror, checkpoints: Checkpoints) -> None:
    """Steps 1 to 4 of a run; step 2 is the best, and is saved twice, as at the end of an epoch; 3 is saved again."""
    (run / "config.json").write_text("{}")
    for step in (1, 2, 3, 4):
        metrics(run, step)
        checkpoints.save(checkpoint(step), step=step)
        if step == 2:
            checkpoints.save(checkpoint(step, epoch=1), step=step)
            checkpoints.mark_best(Best(step=2, auc=0.75))
        if step == 3:
            checkpoints.save(checkpoint(step, number=3.5), step=step)
    mirror.end()


def test_the_place_holds_what_the_folder_holds(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    run, mirror, checkpoints = mirrored(tmp_path, "one", place)
    story(run, mirror, checkpoints)
    held = {path.relative_to(run).as_posix(): path for path in run.rglob("*") if path.is_file()}
    assert names(place) == sorted(held)
    assert all(read(place / name, largest=1 << 20) == path.read_bytes() for name, path in held.items())
    assert {name.split("/")[1] for name in held if name.startswith("checkpoint/step")} == {
        f"step-{step:08d}" for step in (2, 3, 4)
    }
    assert not list((tmp_path / "one" / "going").glob("*/*"))


def test_wherever_sending_stops_the_run_resumes_from_the_newest_complete_checkpoint(
    tmp_path: Path, bucket: str
) -> None:
    """Kills the run before each change at the store in turn."""
    change, newest = 0, 0
    while True:
        place = Place(f"{bucket}/run-{change}")
        run, mirror, checkpoints = mirrored(tmp_path, f"killed-{change}", place)
        with killed_at(change) as asked:
            with suppress(InputError):
                story(run, mirror, checkpoints)
            made = asked[0]
        again, mirror, checkpoints = mirrored(tmp_path, f"again-{change}", place)
        mirror.fetch_run()
        found, passed = checkpoints.newest_intact()
        assert passed == []
        step = 0 if found is None else int(found.state["position"]["step"])
        assert step >= newest, f"after {change} changes"
        newest = step
        if found is not None:
            assert torch.equal(found.tensors["model"]["weight"], found.tensors["random-0"]["weight"])
            assert json.loads((again / "metrics.jsonl").read_text().splitlines()[-1])["step"] >= step
            with found_checkpoint(place / "checkpoint") as chosen:  # the best, or else the newest
                assert chosen.place.parent == place / "checkpoint"
                assert int(chosen.path.name.removeprefix("step-")) in (step, 2)
        if made <= change:
            assert step == 4
            return
        change += 1


def test_resuming_leaves_at_the_place_what_an_unbroken_run_leaves(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    with killed_at(17):  # about during the third checkpoint
        run, mirror, checkpoints = mirrored(tmp_path, "killed", place)
        with pytest.raises(InputError, match="what was trained could not be sent there"):
            story(run, mirror, checkpoints)
    run, mirror, checkpoints = mirrored(tmp_path, "again", place)
    mirror.fetch_run()
    found, _ = checkpoints.newest_intact()
    assert found is not None
    checkpoints.sweep()
    for step in (3, 4, 5, 6):
        checkpoints.save(checkpoint(step), step=step)
    mirror.end()
    steps = {name.split("/")[1] for name in names(place) if name.startswith("checkpoint/") and "step" in name}
    best = checkpoints.best()
    assert steps == {f"step-{step:08d}" for step in {5, 6, *([best.step] if best else [])}}


def test_sending_does_not_look_where_the_run_renames_its_checkpoints(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is removed while it is listed ends the listing, and with it the training run."""
    entered = []
    scandir = os.scandir

    def listing(folder: str) -> Any:
        entered.append(Path(folder).name)
        return scandir(folder)

    run, mirror, checkpoints = mirrored(tmp_path, "one", Place(f"{bucket}/run"))
    story(run, mirror, checkpoints)
    (run / "tensorboard").mkdir()
    (run / "tensorboard" / "events").write_text("x")
    (run / "checkpoint" / ".step-00000009.incomplete").mkdir()
    monkeypatch.setattr("os.scandir", listing)
    mirror.end()
    assert sorted(entered) == ["run", "tensorboard"]
    assert "tensorboard/events" in names(Place(f"{bucket}/run"))


def test_only_what_is_read_is_fetched(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    story(*mirrored(tmp_path, "one", place))
    run, mirror, checkpoints = mirrored(tmp_path, "two", place)
    mirror.fetch_run()
    assert sorted(path.name for path in (run / "checkpoint").rglob("*.safetensors")) == []
    checkpoints.newest_intact()
    assert {path.parent.name for path in run.rglob("*.safetensors")} == {"step-00000004"}


def test_a_damaged_checkpoint_is_passed_over_and_set_aside_there_too(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    story(*mirrored(tmp_path, "one", place))
    write(place / "checkpoint/step-00000004/model.safetensors", b"no weights")
    run, mirror, checkpoints = mirrored(tmp_path, "two", place)
    mirror.fetch_run()
    found, passed = checkpoints.newest_intact()
    assert found is not None
    assert found.state["position"]["step"] == 3
    assert "model.safetensors is not what was written" in passed[0]
    checkpoints.sweep()
    mirror.end()
    folders = {name.split("/")[1] for name in names(place) if "step" in name}
    assert folders == {"step-00000002", "step-00000003", "step-00000004.damaged"}
    del run


def test_what_another_run_left_half_sent_is_no_checkpoint(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    write(place / "checkpoint/step-00000009/model.safetensors", b"half")
    write(place / "checkpoint/step-00000009/strange.safetensors", b"half")
    run, mirror, checkpoints = mirrored(tmp_path, "one", place)
    mirror.fetch_run()
    assert checkpoints.newest_intact() == (None, [])
    checkpoints.save(checkpoint(9), step=9)
    mirror.end()
    assert not [name for name in names(place) if "strange" in name]
    del run


def test_two_that_begin_at_once_do_not_both_train(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    with working_folder(place, ALONE, resume=False) as one, working_folder(place, ALONE, resume=False) as other:
        for at in (one, other):
            (at.folder / "config.json").write_text("{}")
        one.config_written()
        with pytest.raises(InputError, match=f"{place}: holds a training run"):
            other.config_written()
    with pytest.raises(InputError, match="holds a training run"), working_folder(place, ALONE, resume=False):
        pass


def test_a_working_folder_is_gone_afterwards_and_a_dead_ones_too(
    tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    place = Place(f"{bucket}/run")
    with working_folder(place, ALONE, resume=True) as at:
        base = at.folder.parents[1]
        dead = base.with_name(base.name[:-4] + "dead")
        dead.mkdir()
        (dead / "lock").touch()
        with working_folder(place, ALONE, resume=True):
            assert at.folder.is_dir()
            assert not dead.exists()
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_url(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    with (
        pytest.raises(InputError, match=f"^{place}/checkpoint/x is bad$"),
        working_folder(place, ALONE, resume=True) as at,
    ):
        raise InputError(f"{at.folder}/checkpoint/x is bad")


def test_a_checkpoint_elsewhere_is_found_by_its_url(tmp_path: Path, bucket: str) -> None:
    save_checkpoint(checkpoint(5), tmp_path / "mine")
    files = {file.name: file for file in (tmp_path / "mine").iterdir()}
    for name, file in files.items():
        write(Place(f"{bucket}/mine") / name, file)
    with found_checkpoint(Place(f"{bucket}/mine")) as found:
        assert (found.place, found.run) == (Place(f"{bucket}/mine"), None)
        assert {path.name for path in found.path.iterdir()} == set(files)
    with found_checkpoint(Place(f"{bucket}/nothing")) as found:
        assert not found.path.exists()


def test_of_two_that_resume_a_run_the_newest_continues_and_the_other_stops(tmp_path: Path, bucket: str) -> None:
    place = Place(f"{bucket}/run")
    story(*mirrored(tmp_path, "begun", place))
    older, newer = (mirrored(tmp_path, name, place) for name in ("older", "newer"))
    for run, mirror, checkpoints in (older, newer):
        mirror.fetch_run()
        checkpoints.newest_intact()
        (run / "config.json").write_text("{}")
        mirror.claim()
    run, mirror, checkpoints = newer
    metrics(run, 5)
    checkpoints.save(checkpoint(5), step=5)
    mirror.end()
    there = {name: read(place / name, largest=1 << 20) for name in names(place)}
    run, mirror, checkpoints = older
    metrics(run, 99)
    checkpoints.save(checkpoint(99), step=99)
    with pytest.raises(InputError, match="another process resumes this training run"):
        mirror.end()
    assert {name: read(place / name, largest=1 << 20) for name in names(place)} == there
    assert "checkpoint/step-00000005/state.json" in there
    assert not any(name.startswith("_locks") for name in there), "the turn was given back"


def test_a_turn_whose_number_came_again_is_not_ours(bucket: str) -> None:
    place = Place(f"{bucket}/run")
    asleep, one, other = Turn(place), Turn(place), Turn(place)
    asleep.take()
    one.take()
    one.give_back()
    other.take()
    with pytest.raises(InputError, match="another process resumes"):
        asleep.check()
    asleep.give_back()
    other.check()
