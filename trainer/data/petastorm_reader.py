"""Reads superblocks with petastorm in the requested order, through its dummy pool and a restricted unpickler.

Petastorm's thread and process pools lose or reorder rows, the dummy pool does not. Its schema is a pickle that may name
any class of `builtins`; the unpickler here builds only the classes of our own schema.
"""

from __future__ import annotations

import io
import itertools
import pickle
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from schemas.errors import ContractError, InputError
from schemas.manifest import BATCH_FOLDER, MANIFEST_FILE
from schemas.packed_batch import PACKED_BATCH
from trainer.data.cells import decoded_rows
from trainer.data.directory import Arrays, PackedDirectory
from trainer.data.files import AGAIN, Opened

with warnings.catch_warnings():  # petastorm imports deprecated pyarrow names
    warnings.simplefilter("ignore")
    try:
        from petastorm import reader as petastorm_reader
        from petastorm.etl import legacy
        from petastorm.py_dict_reader_worker import PyDictReaderWorker
        from petastorm.workers_pool import EmptyResultError
        from petastorm.workers_pool.dummy_pool import DummyPool
        from pyarrow.filesystem import FileSystem
    except ImportError as error:  # a GPU machine may lack petastorm; the Arrow reader does not need it
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
_SCHEMA = f"{BATCH_FOLDER}/_common_metadata"


def _find_class(unpickler: Any, module: str, name: str) -> Any:
    if (module, name) not in ALLOWED:
        raise pickle.UnpicklingError(f"the schema names {module}.{name}, which no packed directory holds")
    return super(legacy.RestrictedUnpickler, unpickler).find_class(module, name)


def petastorm_superblocks(directory: PackedDirectory, wanted: Sequence[int]) -> Iterator[list[Arrays]]:
    """Reads row groups with petastorm. ContractError for a schema that is not ours, InputError without petastorm."""
    if MISSING is not None:
        raise InputError(f"petastorm cannot be imported ({MISSING}): install it, or read with --run.reader arrow")
    legacy.RestrictedUnpickler.find_class = _find_class
    superblocks = directory.superblocks
    places = [superblocks[number][:2] for number in wanted]
    if _SCHEMA not in {entry.path for entry in directory.manifest.files}:
        raise ContractError(f"{directory.place / MANIFEST_FILE}: lists no file of {_SCHEMA}. {AGAIN}")
    with directory.files.row_groups(places) as open_file, warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pyarrow 14 deprecates names that petastorm uses
        try:
            rows = _OrderedReader(directory, places, open_file)
        except pickle.UnpicklingError as error:
            raise ContractError(f"{directory.root / _SCHEMA}: {error}. Do not use it; pack again") from error
        with rows:
            for number in wanted:
                with directory.reading(number):
                    found = [row._asdict() for row in itertools.islice(rows, len(superblocks[number][2].batches))]
                yield found


if MISSING is None:

    class _Pool(DummyPool):  # type: ignore[misc]  # petastorm is untyped
        """Petastorm's dummy pool with a short wait. The original sleeps 0.1 seconds whenever its thread that hands out
        row groups is late, and never returns if that thread ends meanwhile."""

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

    class _Listed(FileSystem):  # type: ignore[misc]  # petastorm's kind of file system, which pyarrow types nowhere
        """The batch folder as the manifest lists it, local or behind a URL: petastorm sees no other file."""

        def __init__(self, directory: PackedDirectory, open_file: Opened) -> None:
            self.open_file = open_file
            self._directory = directory

        def isdir(self, path: str) -> bool:
            """Whether `path` is the batch folder."""
            return path == BATCH_FOLDER

        def walk(self, path: str) -> Iterator[tuple[str, list[str], list[str]]]:
            """The batch folder and its files."""
            root = f"{path}/"
            listed = (entry.path for entry in self._directory.manifest.files)
            yield path, [], [name.removeprefix(root) for name in listed if name.startswith(root)]

        def open(self, path: str, mode: str = "rb") -> io.BytesIO:
            """A small file of the folder: petastorm's schema."""
            with self._directory.files.complete(path) as source:
                return io.BytesIO(source.read_bytes() if isinstance(source, Path) else source.read())

    class _Worker(PyDictReaderWorker):  # type: ignore[misc]  # petastorm is untyped
        """Decodes row groups directly from the file that the directory opens. Petastorm's own worker opens the file for
        each row group and reads it through a pandas frame."""

        def process(self, piece_index: int, **_: Any) -> None:
            piece = self._split_pieces[piece_index]
            names = [field.name for field in self._schema.fields.values()]
            with self._filesystem.open_file(piece.path) as file:
                table = file.read_row_group(piece.row_group, columns=names, use_threads=False)  # as the Arrow reader
                rows = decoded_rows(table, names)
            if rows:
                self.publish_func(rows)

    class _OrderedReader(petastorm_reader.Reader):  # type: ignore[misc]  # petastorm is untyped
        """A petastorm reader that reads the row groups in the order given, each once."""

        def __init__(self, directory: PackedDirectory, places: Sequence[tuple[str, int]], open_file: Opened) -> None:
            self._directory, self._places = directory, places
            super().__init__(
                _Listed(directory, open_file),
                BATCH_FOLDER,
                reader_pool=_Pool(),
                shuffle_row_groups=False,
                num_epochs=1,
                worker_class=_Worker,
            )

        def _filter_row_groups(self, _dataset: Any, row_groups: Sequence[Any], *_: Any) -> tuple[list[int], None]:
            """Petastorm's hook for choosing row groups: indexes into its own list, in our order."""
            found = {(piece.path, piece.row_group): n for n, piece in enumerate(row_groups)}
            gone = {path for path, row_group in self._places if (path, row_group) not in found}
            if gone:
                raise ContractError(f"{self._directory.root / min(gone)}: {_SCHEMA} knows fewer row groups. {AGAIN}")
            return [found[place] for place in self._places], None

        def cleanup_cache(self) -> None:
            """Does nothing: there is no cache, and petastorm's own method prints a line to standard output."""
