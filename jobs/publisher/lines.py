"""The log as text: one JSON line per impression, cut from prepared text because every id has the same width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jobs.publisher.clicks import Log
from jobs.publisher.newsroom import News
from jobs.publisher.readers import Readers
from jobs.publisher.sizes import Ints, as_times, starts_of

_LINE = b'{"impression_id": "%b", "user_id": "%b", "time": "%b", "history": [%b], "shown": [%b], "clicked": [%b]}'


def line_writer(log: Log, news: News, readers: Readers) -> Callable[[Ints], list[bytes]]:
    """A function from impressions to their lines; an impression asked for twice gives the same bytes twice."""
    cell_V = np.char.add(np.char.add(b'"', news.id_V), b'", ')
    width = cell_V.dtype.itemsize
    sequences = cell_V[log.sequence_C].tobytes()
    click_P = np.flatnonzero(log.clicked_P)
    click_start_I1 = np.searchsorted(click_P, log.shown_start_I1)

    def write(impression_D: Ints) -> list[bytes]:
        user_D = log.user_I[impression_D]
        history_D = log.sequence_start_U1[user_D]
        columns = (
            log.id_I[impression_D].tolist(),
            readers.id_U[user_D].tolist(),
            np.char.encode(np.datetime_as_string(as_times(log.time_I[impression_D]), timezone="UTC")).tolist(),
            _cuts(sequences, history_D, history_D + log.history_length_I[impression_D], width),
            _lists(cell_V, log.news_P, log.shown_start_I1, impression_D),
            _lists(cell_V, log.news_P[click_P], click_start_I1, impression_D),
        )
        return [_LINE % line for line in zip(*columns, strict=True)]

    return write


def _lists(cell_V: NDArray[np.bytes_], news_P: Ints, start_I1: Ints, impression_D: Ints) -> list[bytes]:
    """The news of each impression as the inside of a JSON list."""
    first_D, length_D = start_I1[impression_D], np.diff(start_I1)[impression_D]
    place_D1 = starts_of(length_D)
    row = np.repeat(first_D - place_D1[:-1], length_D) + np.arange(place_D1[-1])
    return _cuts(cell_V[news_P[row]].tobytes(), place_D1[:-1], place_D1[1:], cell_V.dtype.itemsize)


def _cuts(text: bytes, first_D: Ints, end_D: Ints, width: int) -> list[bytes]:
    """Cells first up to end of a text of cells, without the last one's comma and space."""
    spans = zip((first_D * width).tolist(), (end_D * width).tolist(), strict=True)
    return [text[first : end - 2] if end > first else b"" for first, end in spans]
