from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pytest

from pipelines.ingest.parse.ids import bad_letters, faults_of_ids, faults_of_lists, id_of_number
from pipelines.ingest.parse.text_lists import spans, texts_of


def test_letters_that_no_id_may_have_are_those_of_unicodes_categories() -> None:
    letters = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    bad = [letter for letter in letters if letter == "\\" or unicodedata.category(letter) in ("Cc", "Zs", "Zl", "Zp")]
    data, at = spans(pa.array(letters))
    found = np.searchsorted(at, bad_letters(data), side="right") - 1
    assert [letters[place] for place in found] == bad
    assert len(bad_letters(np.frombuffer("plain~!æ😀".encode(), np.uint8))) == 0


def test_faults_are_found_row_by_row() -> None:
    ids = ["n1", "", " ", "a b", None, "i" * 256, "i" * 257, "é" * 129, "\u2028", "x\\", " x"]
    none, bad = faults_of_ids(pa.array(ids))
    assert [id for id, fault in zip(ids, none, strict=True) if fault] == ["", " ", None]
    assert [id for id, fault in zip(ids, bad, strict=True) if fault] == [id for id in ids[2:] if id and len(id) != 256]
    lists = pa.array([["n1"], [], None, ["n1", None], ["n1", "n 2"], ["n1"]])
    none, bad = faults_of_lists(lists.slice(1))
    assert none.tolist() == [False, False, True, False, False]
    assert bad.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("number", "id"),
    [
        *(("1541", "1541"), ("1541.0", "1541"), ("1.541e3", "1541"), ("-0", "0"), ("-0.0", "0"), ("-7.0", "-7")),
        *(("9" * 5000, "9" * 5000), ("1.5", None), ("1e400", None), ("9007199254740991.0", "9007199254740991")),
        *(("9007199254740992.0", None), ("1e999999999", None), ("0." + "9" * 3000, "1")),
    ],
)
def test_a_number_is_an_id_if_it_is_an_exact_integer(number: str, id: str | None) -> None:
    assert id_of_number(number) == id


def test_a_list_of_ids_becomes_one_text() -> None:
    assert texts_of(pa.array([["a", "b"], [], None, ["c"]])).to_pylist() == ["a b", "", None, "c"]
