from __future__ import annotations

from jobs.synthetic.topics import TOPICS


def test_every_topic_has_people_things_and_doings_of_its_own() -> None:
    for topic in TOPICS:
        assert (len(set(topic.actors)), len(set(topic.things)), len(set(topic.acts))) == (6, 8, 5)
        assert all(word == word.strip() and word for word in (*topic.actors, *topic.things, *topic.acts))


def test_hardly_a_word_stands_for_two_topics() -> None:
    words = [word for topic in TOPICS for word in {*topic.actors, *topic.things, *topic.acts}]
    assert len(set(words)) >= len(words) - 5
