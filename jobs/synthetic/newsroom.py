"""Publishes news: each with its topic, text, hour of publication and appeal, and its weight at a given time."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np

from jobs.synthetic.sizes import DAY, DAYS, STOCK_DAYS, Floats, Ids, Ints, Size, shuffled_ids, starts_of
from jobs.synthetic.text import Story, write_story
from jobs.synthetic.topics import TOPICS

ZIPF_EXPONENT = 0.7  # appeal of the r-th most appealing news = r ** -this
TOPIC_EXPONENT = 0.3  # share of the r-th most written of topic, likewise
RECENCY_HOURS = 72.0  # a news is shown e times less often after this long
LASTING = 0.004  # what remains of its weight when it is old
_TRIES = 50  # for a title that no other news has


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """V news, ordered by topic, so that a topic is a slice: topic t owns rows topic_start_T1[t] up to the next."""

    id_V: Ids
    topic_V: Ints
    topic_start_T1: Ints
    published_V: Ints  # seconds from START; negative = stock
    appeal_V: Floats  # Zipf
    log_appeal_V: Floats  # its logarithm, mean 0, deviation 1
    stories: list[Story]

    def weight_V(self, now: int) -> Floats:
        """The weight of each news among those shown at that second; 0 before it is published."""
        age_V = now - self.published_V
        decay_V = np.exp(-np.maximum(age_V, 0) / (RECENCY_HOURS * 3600)) + LASTING
        return np.where(age_V >= 0, self.appeal_V * decay_V, 0.0)


def write_news(size: Size, rng: np.random.Generator, *, texts: bool = True) -> News:
    """All news of the sample, published evenly over the stock's days and the log's; without texts, their stories are
    left out and all else is the same."""
    share_T = rng.permutation(np.arange(1, size.topics + 1) ** -TOPIC_EXPONENT)
    topic_V = np.sort(rng.choice(size.topics, size.news, p=share_T / share_T.sum()))
    appeal_V = rng.permutation(np.arange(1, size.news + 1) ** -ZIPF_EXPONENT)
    log_V = np.log(appeal_V)
    return News(
        id_V=shuffled_ids("n", size.news, rng),
        topic_V=topic_V,
        topic_start_T1=starts_of(np.bincount(topic_V, minlength=size.topics)),
        published_V=rng.integers(-STOCK_DAYS * DAY, DAYS * DAY, size.news),
        appeal_V=appeal_V,
        log_appeal_V=(log_V - log_V.mean()) / log_V.std(),
        stories=_stories(topic_V, size, random.Random(int(rng.integers(2**62)))) if texts else [],
    )


def _stories(topic_V: Ints, size: Size, pick: random.Random) -> list[Story]:
    """One story each; a title repeats only where a topic's words run out."""
    seen: set[str] = set()
    stories = []
    for topic in topic_V.tolist():
        story = write_story(TOPICS[topic], pick, size.body_sentences)
        tries = 0
        while story.title in seen and tries < _TRIES:
            story, tries = write_story(TOPICS[topic], pick, size.body_sentences), tries + 1
        seen.add(story.title)
        stories.append(story)
    return stories
