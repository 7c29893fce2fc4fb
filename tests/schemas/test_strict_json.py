from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from schemas.errors import ContractError, InputError
from schemas.strict_json import DEEPEST, Count, Sha256, between, decoded, json_value
from tests.damage import HANG, changed, damaged_texts, refusal

pytestmark = pytest.mark.timeout(HANG)

COMPLETE = b'{"name": "\\u00e9", "rows": 3, "parts": [{"share": 0.5}, {"share": 1}], "more": {"a": [1, null]}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    share: float
    rank: Annotated[int, between(0, 9)] = 0

    def __post_init__(self) -> None:
        if self.share > 1:
            raise ValueError(f"a share of {self.share}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    name: str
    rows: Count
    parts: tuple[Part, ...]
    more: dict[str, Any]
    sha256: Sha256 | None = None


def read(text: bytes, **options: Any) -> Some:
    return decoded(text, Some, "some.json", advice="Make it again", **options)


def test_a_complete_text_becomes_its_dataclass() -> None:
    assert read(COMPLETE) == Some(name="é", rows=3, parts=(Part(share=0.5), Part(share=1.0)), more={"a": [1, None]})


@pytest.mark.parametrize("name", damaged_texts(COMPLETE))
def test_damaged_text_is_refused(name: str) -> None:
    refusal(lambda: read(damaged_texts(COMPLETE)[name]), "some.json", "Make it again")


def set_to(*path: str | int, value: object) -> Any:
    def change(content: Any) -> None:
        for step in path[:-1]:
            content = content[step]
        content[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("rows",), True, r"at \$\.rows: Expected `int`, got `bool`, found true"),
        (("rows",), 3.0, r"at \$\.rows: Expected `int`, got `float`, found 3\.0"),
        (("rows",), -1, r"at \$\.rows: Expected `int` >= 0, found -1"),
        (("rows",), 10**18, r"at \$\.rows: Expected `int` <= "),
        (("rows",), 10**30, r"no JSON \(the integer 1000.* is beyond 64 bits\)"),
        (("name",), None, r"at \$\.name: Expected `str`, got `null`"),
        (("parts",), {}, r"at \$\.parts: Expected `array`, got `object`"),
        (("parts", 1), {}, r"at \$\.parts\[1\]: Object missing required field `share`"),
        (("parts", 1, "share"), 2, r"at \$\.parts\[1\]: a share of 2"),
        (("parts", 1, "rank"), 10, r"at \$\.parts\[1\]\.rank: Expected `int` <= 9, found 10"),
        (("sha256",), "0" * 63, r"at \$\.sha256: Expected `str` matching regex"),
    ],
)
def test_an_error_names_the_place_what_stands_there_and_what_belongs_there(
    path: tuple[str | int, ...], value: object, said: str
) -> None:
    text = changed(COMPLETE, set_to(*path, value=value))
    with pytest.raises(ContractError, match=rf"^some\.json(, |: ){said}.*\. Make it again$"):
        read(text)


def test_a_name_that_the_contract_lacks_is_refused_or_ignored_as_its_reader_says() -> None:
    text = changed(COMPLETE, set_to("parts", 0, "colour", value="red"))
    with pytest.raises(ContractError, match=r"some\.json, at \$\.parts\[0\]\.colour: no such name"):
        read(text)
    assert read(text, unknown="ignored") == read(COMPLETE)


def test_the_error_is_of_the_kind_that_the_reader_names() -> None:
    class OurError(InputError):
        pass

    for text in (b"", b"{}", b'{"name": 1}'):
        with pytest.raises(OurError):
            read(text, error=OurError)


def test_values_may_be_nested_as_deep_as_is_said_and_no_deeper() -> None:
    assert json_value("[" * DEEPEST + "]" * DEEPEST, "here")
    with pytest.raises(ContractError, match=f"here: no JSON .*more than {DEEPEST} deep"):
        json_value("[" * (DEEPEST + 2) + "]" * (DEEPEST + 2), "here")


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert json_value(b'"\\ud83d\\ude00"', "here") == "😀"


def test_what_is_written_is_read_again() -> None:
    some = read(COMPLETE)
    assert decoded(json.dumps(dataclasses.asdict(some)), Some, "here") == some


@pytest.mark.parametrize("text", ["%s", "[%s]", '[1, 2.5, "a", %s, null]', '{"a": {"b": [[0], [%s]]}}', "[1, 2, %s]"])
@pytest.mark.parametrize(
    ("number", "fault"),
    [
        ("18446744073709551615", None),
        ("-9223372036854775808", None),
        ("18446744073709551616", r"the integer 18446744073709551616… is beyond 64 bits"),
        ("-9223372036854775809", r"the integer -9223372036854775809… is beyond 64 bits"),
        ("9" * 100, "the integer 9{24}… is beyond 64 bits"),
        ("9" * 5000, "Exceeds the limit"),
        ("1.7e308", None),
        ("1e400", "a number is beyond what a double holds"),
        ("-1e400", "a number is beyond what a double holds"),
    ],
)
def test_numbers_have_the_same_bounds_wherever_they_are(text: str, number: str, fault: str | None) -> None:
    if fault is None:
        assert json_value(text % number, "here") == json.loads(text % number)
        return
    with pytest.raises(ContractError, match=rf"here: no JSON \({fault}"):
        json_value(text % number, "here")
