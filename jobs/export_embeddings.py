"""A checkpoint -> the vectors of all news as a Delta table, a FAISS index, and both encoders. No Spark."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jobs.cli.command_line import run
from jobs.cli.progress import stage
from pipelines.lake.locks import locked
from schemas.errors import InputError
from schemas.storage.files import is_folder
from schemas.storage.place import Place
from trainer.checkpoint.resolve import found_checkpoint
from trainer.data.directory import ReadConfig
from trainer.serve.export_place import export_at
from trainer.serve.export_run import export
from trainer.serve.index import IndexKind
from trainer.setup.automatic import EncodeConfig


def export_embeddings(
    *,
    checkpoint: Place,
    data: Place,
    out: Place,
    lake: Place | None = None,
    index: IndexKind = "flat",
    store: Path | None = None,
    encode: EncodeConfig = EncodeConfig(),  # noqa: B008 - frozen
    read: ReadConfig = ReadConfig(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Export every news' vector, an index to search them, and both encoders of a checkpoint.

    Run again, it encodes new and changed news; with another checkpoint it encodes all of them.

    Parameters
    ----------
    checkpoint
        A checkpoint that `train` wrote; of a run's folder of checkpoints the best, or else the newest.
    data
        The packed directory whose news are encoded: all of its source, not only those in its batches.
    out
        Folder for the export: index.faiss, news.parquet, encoder/, user.safetensors, export.json.
    lake
        The lake that the packed directory came from: vectors go into its table `embeddings`, under news ids. Without
        it the table is in --out, and news have only their item rows.
    index
        flat is exact; ivf and hnsw are faster on millions of news, and report their recall against it.
    store
        Folder of this machine that keeps the frozen layers' output; by default `<data>.frozen`. News outside it pass
        all layers.
    """
    if lake is not None and not is_folder(lake):
        raise InputError(f"--lake {lake}: there is no such folder. Name the lake that --data was packed from")
    writing = nullcontext() if lake is None else locked(str(lake), export_embeddings.__name__)
    with found_checkpoint(checkpoint) as found, export_at(out) as folder, stage("news encoded") as bar, writing:
        packed = read.packed(data)
        return export(found.given, packed, folder, lake=lake, kind=index, store=store, encode=encode, progress=bar.more)


if __name__ == "__main__":
    raise SystemExit(run(export_embeddings))
