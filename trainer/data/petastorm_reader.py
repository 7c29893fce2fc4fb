"""The only petastorm call: superblocks in the order asked for, through its dummy pool and a narrowed unpickler.

Petastorm's thread and process pools lose or reorder rows, and its schema is a pickle that may name any class of
`builtins`: the dummy pool does neither, and the unpickler here builds nothing but what our own schema is made of.
"""

from __future__ import annotations

import itertools
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from schemas.errors import ContractError, InputError
from schemas.manifest import BATCH_FOLDER
from schemas.packed_batch import PACKED_BATCH
from trainer.data.cells import decoded_rows
from trainer.data.directory import Arrays, PackedDirectory

with warnings.catch_warnings():  # petastorm imports pyarrow names that warn of their age
    warnings.simplefilter("ignore")
    try:
        from petastorm import reader as petastorm_reader
        from petastorm.etl import legacy
        from petastorm.fs_utils import get_filesystem_and_path_or_paths
        from petastorm.py_dict_reader_worker import PyDictReaderWorker
        from petastorm.workers_pool import EmptyResultError
        from petastorm.workers_pool.dummy_pool import DummyPool
    except ImportError as error:  # a GPU machine may have none; the Arrow reader needs none
        MISSING: ImportError | None = error
    else:
        MISSING = None

ALLOWED = frozenset(
    {
        ("collections", "OrderedDict"),
        ("petastorm.unischema", "Unischema"),
        ("petastorm.unischema", "UnischemaField"),
        ("petastorm.codecs", "NdarrayCodec"),
        *(
            ("numpy", name)
            for name in {f"{field.dtype}_" if field.dtype == "bool" else field.dtype for field in PACKED_BATCH}
        ),
    }
)


_LATE_SECONDS = 0.0005


def _find_class(unpickler: Any, module: str, name: str) -> Any:
    if (module, name) not in ALLOWED:
        raise pickle.UnpicklingError(f"the schema names {module}.{name}, which no packed directory holds")
    return super(legacy.RestrictedUnpickler, unpickler).find_class(module, name)


def petastorm_superblocks(directory: PackedDirectory, wanted: Sequence[int]) -> Iterator[list[Arrays]]:
    """Read row groups with petastorm. ContractError for a schema that is not ours, InputError without petastorm."""
    if MISSING is not None:
        raise InputError(f"petastorm cannot be imported ({MISSING}): install it, or read with --run.reader arrow")
    legacy.RestrictedUnpickler.find_class = _find_class
    superblocks = directory.superblocks
    places = [superblocks[number][:2] for number in wanted]
    with warnings.catch_warnings():  # pyarrow 14 warns of each old name that petastorm uses
        warnings.simplefilter("ignore", FutureWarning)
        try:
            rows = _OrderedReader(directory, places)
        except pickle.UnpicklingError as error:
            raise ContractError(
                f"{directory.path}/{BATCH_FOLDER}/_common_metadata: {error}. Do not use it; pack again"
            ) from error
        with rows:
            for number in wanted:
                with directory.reading(number):
                    found = [row._asdict() for row in itertools.islice(rows, len(superblocks[number][2].batches))]
                yield found


if MISSING is None:

    class _Pool(DummyPool):  # type: ignore[misc]  # petastorm is untyped
        """Petastorm's dummy pool, which sleeps a tenth of a second whenever its thread that hands out row groups is
        late, and for ever if that thread ends meanwhile."""

        def get_results(self) -> Any:
            while not self._results_queue:
                all_handed_out = self._ventilator.completed()
                if self._ventilator_queue:
                    positional, named = self._ventilator_queue.pop(0)
                    self._worker.process(*positional, **named)
                    self._ventilator.processed_item()
                elif all_handed_out:
                    raise EmptyResultError
                else:
                    time.sleep(_LATE_SECONDS)
            return self._results_queue.pop(0)

    class _Worker(PyDictReaderWorker):  # type: ignore[misc]  # petastorm is untyped
        """Petastorm's worker, which reads a row group by way of a pandas frame; this one decodes it as it comes."""

        def _load_rows(self, pq_file: Any, piece: Any, _drop: Any) -> list[Any]:
            names = [field.name for field in self._schema.fields.values()]
            return decoded_rows(pq_file.read_row_group(piece.row_group, columns=names), names)

    class _OrderedReader(petastorm_reader.Reader):  # type: ignore[misc]  # petastorm is untyped
        """A petastorm reader whose row groups come in the order given, each once."""

        def __init__(self, directory: PackedDirectory, places: Sequence[tuple[str, int]]) -> None:
            self._places = places
            self._root = directory.path
            # Only the file system is asked for by URL: petastorm does not decode the %20 of a path with a blank.
            filesystem, _ = get_filesystem_and_path_or_paths("file:///")
            super().__init__(
                filesystem,
                str((directory.path / BATCH_FOLDER).resolve()),
                reader_pool=_Pool(),
                shuffle_row_groups=False,
                num_epochs=1,
                worker_class=_Worker,
            )

        def _filter_row_groups(self, _dataset: Any, row_groups: Sequence[Any], *_: Any) -> tuple[list[int], None]:
            """Petastorm's hook for choosing row groups: indexes into its own list, in our order."""
            root = str(self._root.resolve())
            found = {
                (piece.path.removeprefix(root).lstrip("/"), piece.row_group): n for n, piece in enumerate(row_groups)
            }
            gone = {path for path, row_group in self._places if (path, row_group) not in found}
            if gone:
                raise ContractError(
                    f"{self._root / min(gone)}: gone or damaged since it was opened. Pack again with jobs.pack"
                )
            return [found[place] for place in self._places], None

        def cleanup_cache(self) -> None:
            """There is no cache; petastorm's own method prints a line to the standard output of every job."""
