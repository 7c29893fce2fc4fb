"""Reads the files of a packed directory behind a URL through this machine's cache, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from io import BufferedReader
from itertools import accumulate
from pathlib import Path

import pyarrow.parquet as pq

from schemas.errors import ContractError, InputError
from schemas.manifest import EVALUATION_FOLDER, LARGEST_MANIFEST, MANIFEST_FILE, FileEntry
from schemas.space import NoSpaceError
from schemas.spans import Span
from schemas.storage.files import below, head, read, store_of
from schemas.storage.place import Place
from trainer.data.ahead import done_ahead
from trainer.data.cache import Cache, WrongSumError
from trainer.data.files import (
    AGAIN,
    Footers,
    Opened,
    Source,
    Verify,
    entry_spans,
    missing,
    no_manifest,
    opened_spans,
    other_size,
    part_name,
    sample,
)


class StoredFiles:
    """Files behind a URL. Batch files are fetched by row group when they are read, impressions too, and all others when
    the directory is opened."""

    def __init__(self, place: Place, cache: Cache) -> None:
        self._place, self._cache = place, cache
        self._entries: dict[str, FileEntry] = {}

    def check(self, entries: Iterable[FileEntry], verify: Verify) -> None:
        """See Files: checks the sizes of all by one listing. What it fetches is checked, and then in the cache: small
        files, a sample of the batch files if `verify` asks for one, or everything."""
        self._entries = {entry.path: entry for entry in entries}
        sizes = {name: found.bytes for name, found in below(self._place)}
        for name, entry in self._entries.items():
            if name not in sizes:
                raise ContractError(missing(self._place / name))
            if sizes[name] != entry.bytes:
                raise ContractError(other_size(self._place / name, sizes[name], entry))
        for stream in done_ahead([*self._early(verify)]):
            stream.close()

    def _early(self, verify: Verify) -> Iterator[tuple[int, Callable[[], BufferedReader]]]:
        """What is fetched when the directory is opened: (bytes, the way to fetch it)."""
        for name, entry in self._entries.items():
            late = bool(entry.superblocks) or name.startswith(f"{EVALUATION_FOLDER}/")
            if not late or (verify == "full" and not entry.superblocks):
                yield entry.bytes, partial(self._stream, name)
        for path, number in [] if verify == "sizes" else sample(self._entries.values(), verify):
            yield self._spans(path)[number].bytes, partial(self._piece, path, number)

    @contextmanager
    def complete(self, name: str) -> Iterator[Source]:
        """See Files."""
        with self._stream(name) as stream:
            yield stream

    @contextmanager
    def row_groups(self, wanted: Sequence[tuple[str, int]]) -> Iterator[Opened]:
        """See Files. Fetches the next row groups and their files' footers ahead."""
        tasks: list[tuple[int, Callable[[], BufferedReader]]] = []
        seen: set[str] = set()
        for path, row_group in wanted:
            spans = self._spans(path)
            numbers = [*([] if path in seen else [len(spans) - 1]), self._span_of(path, row_group)]
            seen.add(path)
            tasks += [(spans[number].bytes, partial(self._piece, path, number)) for number in numbers]
        footers, groups = Footers(), iter(wanted)
        opened: set[str] = set()
        with closing(done_ahead(tasks)) as pieces:

            @contextmanager
            def open_file(path: str) -> Iterator[pq.ParquetFile]:
                expected, row_group = next(groups)
                assert path == expected, f"{path} is opened where {expected} comes next"
                spans, piece = self._spans(path), partial(self._piece, path)
                footer = footers.of(path, lambda: piece(len(spans) - 1) if path in opened else next(pieces))
                opened.add(path)
                with opened_spans(spans, piece, footer, {self._span_of(path, row_group): next(pieces)}) as file:
                    yield file

            yield open_file

    def _spans(self, path: str) -> Sequence[Span]:
        return entry_spans(self._entries[path])

    def _span_of(self, path: str, row_group: int) -> int:
        return row_group if self._entries[path].spans else 0

    def _piece(self, path: str, number: int) -> BufferedReader:
        """One span of a batch file; an error names the row group."""
        spans = self._spans(path)
        if len(spans) == 1:
            return self._stream(path)
        begin = [0, *accumulate(span.bytes for span in spans)][number]
        store, key = store_of(self._place / path)

        def fetch(to: Path) -> None:
            to.write_bytes(store.read(key, begin, spans[number].bytes))

        with _named_in_errors(f"{self._place / path}, {part_name(spans, number)}"):
            return self._cache.opened(spans[number].sha256, spans[number].bytes, fetch)

    def _stream(self, name: str) -> BufferedReader:
        entry = self._entries[name]
        store, key = store_of(self._place / name)
        with _named_in_errors(str(self._place / name)):
            return self._cache.opened(entry.sha256, entry.bytes, lambda to: store.fetch(key, to))


def stored_manifest(place: Place) -> bytes:
    """The text of the manifest; InputError where there is none, or the store does not answer."""
    file = place / MANIFEST_FILE
    if head(file) is None:
        raise InputError(no_manifest(place))
    return read(file, largest=LARGEST_MANIFEST)


@contextmanager
def _named_in_errors(where: str) -> Iterator[None]:
    """Inside, an error of fetching is raised again with the file and the row group in its message."""
    try:
        yield
    except WrongSumError as error:
        raise ContractError(f"{where}: {error}. {AGAIN}") from error
    except FileNotFoundError as error:
        raise ContractError(f"{where}: gone or damaged since it was opened. {AGAIN}") from error
    except NoSpaceError:
        raise
    except InputError as error:
        raise InputError(
            f"{where}: cannot be read ({error}). Fix this and run again; a training resumes with --resume auto"
        ) from error
