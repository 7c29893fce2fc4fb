"""Draws a log in sections of its users, each with all days: this bounds memory for millions of lines."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from jobs.synthetic.clicks import Log, draw_log
from jobs.synthetic.faults import GOOD, Deliveries, deliver
from jobs.synthetic.lines import line_writer
from jobs.synthetic.malformed import broken
from jobs.synthetic.messages import STYLES, STYLES_OF_ALL, Messages, draw_messages
from jobs.synthetic.newsroom import News, write_news
from jobs.synthetic.readers import draw_views, gather_readers
from jobs.synthetic.sizes import Floats, Ints, Size
from jobs.synthetic.truth import impression_auc, truth_table

_FIRST_SECTION = 5  # random streams of the news and of the first section; further sections have one each


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Some users' part of the log, ready to be written; truth and AUC of its impressions if requested."""

    log: Log  # without probabilities, which only the truth needs
    messages: Messages
    deliveries: Deliveries
    lines_of: Callable[[Ints], list[bytes]]
    truth: pa.Table | None
    auc_I: Floats | None

    def lines(self, begin: int, end: int, pick: random.Random) -> tuple[Ints, list[bytes]]:
        """When each line arrives from second `begin` up to `end`, and the lines."""
        first, last = np.searchsorted(self.deliveries.arrival_D, [begin, end]).tolist()
        lines = self.lines_of(self.deliveries.message_D[first:last])
        fault_D = self.deliveries.fault_D[first:last]
        for at in np.flatnonzero(fault_D != GOOD).tolist():
            lines[at] = broken(lines[at], int(fault_D[at]), pick)
        return self.deliveries.arrival_D[first:last], lines


def draw_news(size: Size, seed: int, *, texts: bool) -> News:
    """All news; every section's users read them."""
    return write_news(size, _streams(seed, 1)[0], texts=texts)


def draw_sections(size: Size, news: News, seed: int, *, truth: bool) -> Iterator[Section]:
    """The sections in order; no two share users or ids."""
    first_user = first_impression = 0
    sizes = list(size.sections())
    streams = _streams(seed, _FIRST_SECTION + len(sizes) - 1)
    rngs_of = [streams[1:_FIRST_SECTION], *(stream.spawn(4) for stream in streams[_FIRST_SECTION:])]
    for part, rngs in zip(sizes, rngs_of, strict=True):
        readers_rng, views_rng, log_rng, faults_rng = rngs
        readers = gather_readers(part, readers_rng, first_user=first_user)
        log = draw_log(draw_views(part, views_rng), news, readers, log_rng, first_impression=first_impression)
        styles = STYLES if part.files_a_day == 1 else STYLES_OF_ALL  # large logs are for any reader's speed
        messages = draw_messages(log, faults_rng, first_impression=first_impression, styles=styles)
        yield Section(
            log=replace(log, probability_P=np.empty(0)),
            messages=messages,
            deliveries=deliver(messages, faults_rng, first=first_user == 0),
            lines_of=line_writer(log, messages, news, readers),
            truth=truth_table(log, messages, news, readers) if truth else None,
            auc_I=impression_auc(log.probability_P, log.clicked_P, log.shown_start_I1) if truth else None,
        )
        first_user, first_impression = first_user + part.users, first_impression + len(log.id_I)


def _streams(seed: int, count: int) -> list[np.random.Generator]:
    """Generators that stay the same whatever their number: the news', the first section's four, one per section."""
    return [np.random.default_rng(part) for part in np.random.SeedSequence(seed).spawn(count)]
