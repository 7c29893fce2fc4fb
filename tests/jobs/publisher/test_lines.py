from __future__ import annotations

import json

import numpy as np

from jobs.publisher.clicks import draw_log
from jobs.publisher.lines import line_writer
from jobs.publisher.newsroom import write_news
from jobs.publisher.readers import draw_views, gather_readers
from jobs.publisher.sizes import SIZES, as_times


def test_a_line_is_what_json_would_write_for_its_impression() -> None:
    rng, size = np.random.default_rng(4), SIZES["tiny"]
    news, readers = write_news(size, rng), gather_readers(size, rng)
    log = draw_log(draw_views(size, rng), news, readers, rng)
    wanted = np.array([5, 3, 5, *range(100, 140)])
    lines = line_writer(log, news, readers)(wanted)
    for impression, line in zip(wanted.tolist(), lines, strict=True):
        span = slice(log.shown_start_I1[impression], log.shown_start_I1[impression + 1])
        user, ids = log.user_I[impression], news.id_V.astype(str)
        history = log.sequence_C[log.sequence_start_U1[user] :][: log.history_length_I[impression]]
        fields = {
            "impression_id": log.id_I[impression].decode(),
            "user_id": readers.id_U[user].decode(),
            "time": f"{as_times(log.time_I)[impression]}Z",
            "history": ids[history].tolist(),
            "shown": ids[log.news_P[span]].tolist(),
            "clicked": ids[log.news_P[span][log.clicked_P[span]]].tolist(),
        }
        assert line == json.dumps(fields).encode()
    assert lines[0] == lines[2]
