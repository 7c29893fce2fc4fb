"""Writes messages as JSON lines, sliced from prepared text because every news id has the same width."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from jobs.synthetic.clicks import Log
from jobs.synthetic.messages import UNLABELLED, Messages
from jobs.synthetic.newsroom import News
from jobs.synthetic.readers import Readers
from jobs.synthetic.sizes import Ids, Ints, as_times, starts_of

_LINE = b'{"impression_id": "%b", "user_id": "%b", "time": "%b", "history": [%b], "shown": [%b]%b}\n'
_MARKS = b', "clicked": [%b]'
_NO_MARKS = (b"", b', "clicked": null')
_ZONES = {1: (3600, b"+01:00"), 2: (-5 * 3600, b"-05:00"), 3: (19_800, b"+05:30")}  # style: seconds ahead of UTC
_FRACTION, _MORE_FIELDS, _BOTH_ENDS, _RETURN = 4, 5, 6, 7
_MORE = b', "device": "phone", "position": {"slot": 1}}'


def line_writer(log: Log, messages: Messages, news: News, readers: Readers) -> Callable[[Ints], list[bytes]]:
    """A function from messages to their lines, line ends included; the same message gives the same bytes again."""
    cell_V = np.char.add(np.char.add(b'"', news.id_V), b'", ')
    width = cell_V.dtype.itemsize
    sequences = cell_V[log.sequence_C].tobytes()
    click_P = np.flatnonzero(log.clicked_P)
    click_start_I1 = np.searchsorted(click_P, log.shown_start_I1)

    def write(message_D: Ints) -> list[bytes]:
        impression_D = messages.impression_M[message_D]
        user_D = log.user_I[impression_D]
        history_D = log.sequence_start_U1[user_D]
        length_D = np.where(messages.bare_M[message_D], 0, log.history_length_I[impression_D])
        marks_D, style_D = messages.marks_M[message_D], messages.style_M[message_D]
        start_D, count_D = click_start_I1[impression_D], np.diff(click_start_I1)[impression_D]
        logged_D = np.choose(marks_D, [count_D, count_D // 2, 0, 0])  # by ALL, HALF, NONE, UNLABELLED
        clicked = _lists(cell_V, log.news_P[click_P], start_D, logged_D)
        shown_D = log.shown_start_I1[impression_D]
        columns = (
            _ids(messages, message_D, impression_D),
            readers.id_U[user_D].tolist(),
            _times(log.time_I[impression_D] + messages.shift_M[message_D], style_D),
            _cuts(sequences, history_D, history_D + length_D, width),
            _with_one_again(
                _lists(cell_V, log.news_P, shown_D, np.diff(log.shown_start_I1)[impression_D]),
                np.where(messages.twice_M[message_D], message_D, -1),
                width,
            ),
            _click_marks(clicked, np.where(marks_D == UNLABELLED, message_D, -1)),
        )
        return _styled([_LINE % line for line in zip(*columns, strict=True)], style_D)

    return write


def _ids(messages: Messages, message_D: Ints, impression_D: Ints) -> list[bytes]:
    second_D = messages.second_M[message_D]
    ids: list[bytes] = np.where(second_D, messages.second_id_I[impression_D], messages.id_I[impression_D]).tolist()
    return ids


def _times(second_D: Ints, style_D: Ints) -> list[bytes]:
    texts: list[bytes] = np.datetime_as_string(as_times(second_D)).astype("S19").tolist()
    texts = [text + b"Z" for text in texts]
    for style, (ahead, zone) in _ZONES.items():
        at = np.flatnonzero(style_D == style)
        for place, local in zip(at.tolist(), np.datetime_as_string(as_times(second_D[at] + ahead)), strict=True):
            texts[place] = str(local).encode() + zone
    for place in np.flatnonzero(style_D == _FRACTION).tolist():
        texts[place] = texts[place][:-1] + b".000Z"
    return texts


def _with_one_again(shown: list[bytes], twice_D: Ints, width: int) -> list[bytes]:
    """The lists, some with one of their news repeated at the end, picked by a number that is not -1."""
    for place in np.flatnonzero(twice_D >= 0).tolist():
        cells = shown[place] + b", "
        again = int(twice_D[place]) % (len(cells) // width) * width
        shown[place] = cells + cells[again : again + width - 2]
    return shown


def _click_marks(clicked: list[bytes], without_D: Ints) -> list[bytes]:
    """The field with the clicks; a number other than -1 picks how the line states that its clicks are unknown."""
    marks = [_MARKS % cells for cells in clicked]
    for place in np.flatnonzero(without_D >= 0).tolist():
        marks[place] = _NO_MARKS[int(without_D[place]) % 2]
    return marks


def _styled(lines: list[bytes], style_D: Ints) -> list[bytes]:
    for style, end in ((_MORE_FIELDS, _MORE + b"\n"), (_BOTH_ENDS, b"}\r\n"), (_RETURN, b"}\r")):
        for place in np.flatnonzero(style_D == style).tolist():
            lines[place] = lines[place][:-2] + end
    return lines


def _lists(cell_V: Ids, news_P: NDArray[np.int32], first_D: Ints, length_D: Ints) -> list[bytes]:
    """`length` news from `first` on, as the inside of a JSON list."""
    place_D1 = starts_of(length_D)
    row = np.repeat(first_D - place_D1[:-1], length_D) + np.arange(place_D1[-1])
    return _cuts(cell_V[news_P[row]].tobytes(), place_D1[:-1], place_D1[1:], cell_V.dtype.itemsize)


def _cuts(text: bytes, first_D: Ints, end_D: Ints, width: int) -> list[bytes]:
    """Cells `first` up to `end` of a text of cells, without the last one's comma and space."""
    spans = zip((first_D * width).tolist(), (end_D * width).tolist(), strict=True)
    return [text[first : end - 2] if end > first else b"" for first, end in spans]
