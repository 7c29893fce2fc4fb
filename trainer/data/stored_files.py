"""Reads the files of a packed directory behind a URL through this machine's cache, row group by row group."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from io import BufferedReader
from itertools import accumulate
from pathlib import Path

import pyarrow.parquet as pq

from schemas.errors import ContractError, InputError
from schemas.manifest import LARGEST_MANIFEST, MANIFEST_FILE, FileEntry
from schemas.space import NoSpaceError
from schemas.spans import Span
from schemas.storage.files import below, head, read, store_of
from schemas.storage.place import Place
from trainer.data.ahead import done_ahead
from trainer.data.cache import Cache, WrongSumError
from trainer.data.files import AGAIN, Opened, Source, missing, no_manifest, other_size
from trainer.data.span_file import SpanFile

_AT_ONCE = 8  # complete files that are fetched at the same time


class StoredFiles:
    """Files behind a URL. Batch files are fetched by row group when they are read, all others on opening."""

    def __init__(self, place: Place, cache: Cache) -> None:
        self._place, self._cache = place, cache
        self._entries: dict[str, FileEntry] = {}

    def check(self, entries: Iterable[FileEntry]) -> None:
        """See Files: checks the sizes of all by one listing; fetches and checks the sums of all but batch files."""
        self._entries = {entry.path: entry for entry in entries}
        sizes = {name: found.bytes for name, found in below(self._place)}
        for name, entry in self._entries.items():
            if name not in sizes:
                raise ContractError(missing(self._place / name))
            if sizes[name] != entry.bytes:
                raise ContractError(other_size(self._place / name, sizes[name], entry))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            wanted = [name for name, entry in self._entries.items() if not entry.superblocks]
            for stream in threads.map(self._stream, wanted):
                stream.close()

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
        footers: dict[str, pq.FileMetaData] = {}
        groups = iter(wanted)
        with closing(done_ahead(tasks)) as pieces:

            @contextmanager
            def open_file(path: str) -> Iterator[pq.ParquetFile]:
                expected, row_group = next(groups)
                assert path == expected, f"{path} is opened where {expected} comes next"
                if path not in footers:
                    with next(pieces) as end:
                        footers[path] = pq.read_metadata(end)
                with SpanFile([span.bytes for span in self._spans(path)], partial(self._piece, path)) as source:
                    source.hold(self._span_of(path, row_group), next(pieces))
                    with pq.ParquetFile(source, metadata=footers[path]) as file:
                        yield file

            yield open_file

    def _spans(self, path: str) -> Sequence[Span]:
        """The spans of a file; the entire file is one span where the manifest lists none, as older ones do."""
        entry = self._entries[path]
        return entry.spans or (Span(bytes=entry.bytes, sha256=entry.sha256),)

    def _span_of(self, path: str, row_group: int) -> int:
        return row_group if self._entries[path].spans else 0

    def _piece(self, path: str, number: int) -> BufferedReader:
        """One span of a batch file; an error names the row group."""
        spans = self._spans(path)
        if len(spans) == 1:
            return self._stream(path)
        part = "its footer" if number == len(spans) - 1 else f"row group {number}"
        begin = [0, *accumulate(span.bytes for span in spans)][number]
        store, key = store_of(self._place / path)

        def fetch(to: Path) -> None:
            to.write_bytes(store.read(key, begin, spans[number].bytes))

        with _named_in_errors(f"{self._place / path}, {part}"):
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
