from __future__ import annotations

import random

from jobs.synthetic.sizes import SIZES
from jobs.synthetic.text import TITLE_WORDS, write_story
from jobs.synthetic.topics import CATEGORIES, TOPICS

BODY = SIZES["demo"].body_sentences


def test_there_are_three_subcategories_in_each_of_fourteen_categories() -> None:
    assert len(CATEGORIES) == 14
    assert all(sum(topic.category == category for topic in TOPICS) == 3 for category in CATEGORIES)
    assert len({topic.subcategory for topic in TOPICS}) == 42


def test_every_title_is_6_to_14_words_long_and_holds_words_of_its_topic() -> None:
    pick = random.Random(1)
    for topic in TOPICS:
        words = [word.lower() for word in (*topic.actors, *topic.things, *topic.acts)]
        for _ in range(40):
            title = write_story(topic, pick, BODY).title
            assert len(title.split()) in TITLE_WORDS
            assert any(word in title.lower() for word in words)
            assert title[0] == title[0].upper()


def test_a_story_is_filled_in_everywhere() -> None:
    pick = random.Random(2)
    for topic in TOPICS:
        story = write_story(topic, pick, BODY)
        assert not set("{}\n\t") & set(story.title + story.abstract + story.body)
        assert story.abstract.endswith((".", "?"))
        assert BODY[0] <= story.body.count(".") <= 3 * BODY[1]


def test_the_same_seed_writes_the_same_story() -> None:
    assert write_story(TOPICS[5], random.Random(3), BODY) == write_story(TOPICS[5], random.Random(3), BODY)
