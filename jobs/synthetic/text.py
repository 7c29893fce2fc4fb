"""Topical English: a headline, an abstract and a body for one news, put together from templates and a topic's words."""

from __future__ import annotations

import random
from dataclasses import dataclass

from jobs.synthetic.topics import Topic

TITLE_WORDS = range(6, 15)

_TITLES = (
    "{actor} {act} as {crowd} look on",
    "{actor} {act} after {event}",
    "{actor} {act} and {crowd} take notice",
    "{place} {actor} {act} {when}",
    "{name}: {actor} {act} despite {event}",
    "Why the {thing} still matters to {crowd} in {place}",
    "Why every {actor} is suddenly talking about the {thing}",
    "How one {actor} in {place} thinks about the {thing}",
    "How the {thing} came to divide {crowd} {when}",
    "What the {thing} means for {crowd} {when}",
    "What {name} learned about the {thing} after {event}",
    "{count} things to know about the {thing} {when}",
    "{count} surprising facts behind the {thing} and the {other}",
    "The {thing} or the {other}: which one matters more?",
    "The {thing}, explained for {crowd} in under {count} minutes",
    "Inside the {thing}: {actor} {act}",
    "From the {thing} to the {other}: a long week in {place}",
    "Opinion: the {thing} deserves a second look from {crowd}",
    "{name} on the {thing}: 'Nobody told us it would be like this'",
    "'It felt unreal': {actor} {act} in {place}",
    "Report: {actor} {act} {when}",
    "{place} talks of little but the {thing} {when}",
    "Meet the {actor} from {place} who quietly {act}",
    "Watch: {actor} {act}, and {crowd} cannot believe it",
    "{crowd} ask whether the {thing} has gone too far",
    "After {event}, {actor} {act}",
)
_ABSTRACTS = (
    "The {actor} {act}, and the {thing} is back in the news. {name} reports from {place}.",
    "{name} looks at the {thing} and asks what it means for {crowd}.",
    "In {place}, the {thing} has become a matter of talk {when}. A {actor} tells us why.",
    "It began with the {thing}. Then came {event}, and {crowd} started to ask about the {other}.",
    "Few had expected it: {actor} {act}, days after {event}.",
)
_SENTENCES = (
    "The {actor} {act}, according to people in {place}.",
    "For {crowd}, the {thing} is more than a word in a headline.",
    '"The {thing} is what everyone asks me about," said {name}, a {actor} from {place}.',
    '"Without the {thing} there would be no {other}," {name} said.',
    "Others point to the {other} and say that {event} changed little.",
    "{when_first}, {crowd} heard that the {actor} {act}.",
    "{name} has followed the {thing} for {count} years.",
    "Nobody in {place} could say how the {thing} and the {other} will go together.",
    "A spokesman did not want to comment on {event}.",
    "There were {count} people in the room when the talk turned to the {thing}.",
    "The {other} was not mentioned until late in the day.",
    "Experts are careful: one {actor} {act}, and still the {thing} stays what it was.",
    "After {event}, plans for the {other} were put off until further notice.",
    "What happens next depends on {crowd}, {name} added.",
)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split(";"))


_NAMES = _listed(
    "Alvarez;Okafor;Lindqvist;Haddad;Moreau;Tanaka;Kowalski;Brennan;Castellano;Dlamini;Novak;Petersen;Rahman;"
    "Sato;Thornton;Ueda;Vasquez;Whitfield;Yilmaz;Zielinski;Abbott;Carmody;Eriksen;Fontaine;Greco;Hollis;"
    "Ivanova;Jansen"
)
_PLACES = _listed(
    "Ashford;Brookhaven;Cedar Falls;Dunmore;Eastport;Fairview;Glenwood;Harrow;Inverness;Juniper Creek;"
    "Kingsbridge;Lakeside;Millbrook;Newhaven;Oakridge;Port Ellis;Quarry Hill;Riverton;Springfield;Thornbury;"
    "Upton;Westbrook"
)
_CROWDS = _listed("readers;families;locals;neighbours;experts;critics;newcomers;old hands;onlookers;half the town")
_EVENTS = _listed(
    "a week of rumours;months of waiting;a surprise announcement;a sleepless night;a public row;"
    "years of doubt;a sudden change of plan;a leaked memo;an unusual request;a slow start"
)
_WHENS = _listed("this week;this year;once again;for the first time;right now;before the weekend;in 2026;this spring")
_COUNTS = _listed("three;four;five;six;seven;eight;nine;ten;eleven;twelve")


@dataclass(frozen=True, slots=True)
class Story:
    """The text of one news."""

    title: str
    abstract: str
    body: str


def write_story(topic: Topic, pick: random.Random, body_sentences: tuple[int, int]) -> Story:
    """A story on the topic; headline, abstract and body share their main words. The typical body is a little longer
    than the shortest one."""
    words = _words(topic, pick)
    title = _filled(pick.choice(_TITLES), words)
    while len(title.split()) not in TITLE_WORDS:
        title = _filled(pick.choice(_TITLES), _words(topic, pick))
    abstract = _filled(pick.choice(_ABSTRACTS), words)
    shortest, longest = body_sentences
    count = min(longest, shortest + int(pick.expovariate(1 / 5)))
    body = [_filled(pick.choice(_SENTENCES), words if i % 3 == 0 else _words(topic, pick)) for i in range(count)]
    return Story(title, abstract, " ".join(body))


def _words(topic: Topic, pick: random.Random) -> dict[str, str]:
    thing, other = pick.sample(topic.things, 2)
    when = pick.choice(_WHENS)
    return {
        "actor": pick.choice(topic.actors),
        "act": pick.choice(topic.acts),
        "thing": thing,
        "other": other,
        "name": pick.choice(_NAMES),
        "place": pick.choice(_PLACES),
        "crowd": pick.choice(_CROWDS),
        "event": pick.choice(_EVENTS),
        "when": when,
        "when_first": when[0].upper() + when[1:],
        "count": pick.choice(_COUNTS),
    }


def _filled(template: str, words: dict[str, str]) -> str:
    text = template.format_map(words)
    return text[0].upper() + text[1:]
