"""An export behind a URL is complete, old or new, wherever sending it stops."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import torch

from schemas.storage.files import below, write
from schemas.storage.place import Place
from tests.broken_store import KilledError, killed_at
from tests.exported import SOURCE, checkpoint_at, config_of
from tests.packed import packed_directory, tiny_plm
from trainer.serve.export_place import export_at
from trainer.serve.export_run import export
from trainer.serve.opened_export import Export
from trainer.setup.automatic import EncodeConfig

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export_place")
    packed_directory(folder / "packed", items=30, config={"source": SOURCE})
    config = config_of(tiny_plm(folder / "plm"))
    for seed in (0, 1):
        checkpoint_at(folder / f"run-{seed}" / "checkpoint" / f"step-{7 + seed:08d}", config, seed=seed)
    return folder


def exported(made: Path, seed: int, place: Place) -> int:
    """Export the checkpoint of the seed; how many news were encoded."""
    data, checkpoint = made / "packed", made / f"run-{seed}" / "checkpoint"
    with export_at(place) as folder:
        done = export(
            checkpoint,
            data,
            folder,
            lake=None,
            kind="flat",
            store=None,
            encode=EncodeConfig(device="cpu"),
            progress=lambda *_: None,
        )
    return int(done["encoded"])


def names(place: Place) -> set[str]:
    return {name for name, _ in below(place)}


@pytest.mark.parametrize("step", [pytest.param(5), pytest.param(1, marks=pytest.mark.slow)])
def test_wherever_sending_stops_the_old_or_the_new_one_is_complete(made: Path, bucket: str, step: int) -> None:
    change, ended = 0, False
    while not ended:
        place = Place(f"{bucket}/out-{change}")
        exported(made, 0, place)
        with killed_at(change) as asked, suppress(KilledError):
            exported(made, 1, place)
        ended = asked[0] <= change
        assert Export.open(place).record.step in ((8,) if ended else (7, 8))
        encoded = exported(made, 1, place)
        assert Export.open(place).record.step == 8
        assert encoded in (0, 30)
        assert not any(name.startswith(".") for name in names(place))
        assert not names(Place(f"{bucket}/.out-{change}.replaced"))
        assert "encoder/model.safetensors" in names(place)
        change += step


def test_a_first_one_that_broke_off_is_absent_and_made_again(made: Path, bucket: str) -> None:
    place = Place(f"{bucket}/out")
    with killed_at(4), pytest.raises(KilledError):
        exported(made, 0, place)
    assert names(place)
    with pytest.raises(Exception, match=f"{place}: no export.json, so this is no export"):
        Export.open(place)
    assert exported(made, 0, place) == 30
    assert Export.open(place).record.step == 7


def test_a_damaged_file_is_named_by_its_url(made: Path, bucket: str) -> None:
    place = Place(f"{bucket}/out")
    exported(made, 0, place)
    write(place / "index.faiss", b"no index")
    with pytest.raises(Exception, match=f"{place}/index.faiss: 8 bytes, export.json says"):
        Export.open(place)
    assert exported(made, 0, place) == 0  # the vectors are there
    assert Export.open(place).index.ntotal == 30
