from __future__ import annotations

import json

import numpy as np

from jobs.synthetic.clicks import draw_log
from jobs.synthetic.lines import line_writer
from jobs.synthetic.messages import ALL, HALF, UNLABELLED, draw_messages
from jobs.synthetic.newsroom import write_news
from jobs.synthetic.readers import draw_views, gather_readers
from jobs.synthetic.sizes import SIZES, as_times
from tests.jobs.synthetic.reference import time_of


def test_a_line_says_what_its_message_knows_and_a_plain_one_is_what_json_would_write() -> None:
    rng, size = np.random.default_rng(4), SIZES["tiny"]
    news, readers = write_news(size, rng), gather_readers(size, rng)
    log = draw_log(draw_views(size, rng), news, readers, rng)
    messages = draw_messages(log, rng)
    wanted = np.array([5, 3, 5, *range(100, len(messages.sent_M))])
    lines = line_writer(log, messages, news, readers)(wanted)
    ids, plain = news.id_V.astype(str), 0
    for message, line in zip(wanted.tolist(), lines, strict=True):
        impression = messages.impression_M[message]
        span = slice(log.shown_start_I1[impression], log.shown_start_I1[impression + 1])
        user, marks = log.user_I[impression], messages.marks_M[message]
        history = log.sequence_C[log.sequence_start_U1[user] :][: log.history_length_I[impression]]
        shown, clicked = (ids[news_P].tolist() for news_P in (log.news_P[span], log.news_P[span][log.clicked_P[span]]))
        named = messages.second_id_I if messages.second_M[message] else messages.id_I
        second = log.time_I[impression] + messages.shift_M[message]
        expected = {
            "impression_id": named[impression].decode(),
            "user_id": readers.id_U[user].decode(),
            "time": f"{as_times(np.array([second]))[0]}Z",
            "history": [] if messages.bare_M[message] else ids[history].tolist(),
            "shown": shown,
            "clicked": {ALL: clicked, HALF: clicked[: len(clicked) // 2]}.get(marks, []),
        }
        found = json.loads(line)
        assert time_of(found.pop("time")) == time_of(expected["time"])
        assert found.pop("clicked", None) == (None if marks == UNLABELLED else expected["clicked"])
        assert list(dict.fromkeys(found["shown"])) == shown
        assert len(found["shown"]) == len(shown) + messages.twice_M[message]
        assert {name: found[name] for name in ("impression_id", "user_id", "history")}.items() <= expected.items()
        if messages.style_M[message] == 0 and marks != UNLABELLED and not messages.twice_M[message]:
            assert line == json.dumps(expected).encode() + b"\n"
            plain += 1
    assert 0.8 * len(lines) < plain < len(lines)
    assert lines[0] == lines[2]


def test_a_message_asked_for_in_other_company_gives_the_same_bytes() -> None:
    rng, size = np.random.default_rng(4), SIZES["tiny"]
    news, readers = write_news(size, rng), gather_readers(size, rng)
    log = draw_log(draw_views(size, rng), news, readers, rng)
    messages = draw_messages(log, rng)
    write = line_writer(log, messages, news, readers)
    everything = write(np.arange(len(messages.sent_M)))
    assert [write(np.array([at]))[0] for at in range(len(everything))] == everything
