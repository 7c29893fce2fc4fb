from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from pipelines.ingest.parse.extras import text_of_value, typed


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("string", {"a": "a", "": "", None: None}),
        ("long", {"7": 7, "-7": -7, " +7 ": 7, "7.0": None, "x": None, str(2**63): None, str(-(2**63)): -(2**63)}),
        ("double", {"1.5": 1.5, "1e3": 1000.0, "-.5": -0.5, "inf": math.inf, "1_0": None, "0x1": None, "": None}),
        ("boolean", {"true": True, "F": False, "1": True, "no": False, "2": None}),
    ],
)
def test_texts_become_values_of_a_type_or_null(type: str, values: dict[str | None, Any]) -> None:
    assert typed(list(values), type).to_pylist() == list(values.values())
    for text, value in values.items():
        assert typed([text, None], type).to_pylist() == [value, None]


def test_a_value_of_json_is_kept_as_text() -> None:
    texts = {
        '"a\\u00e9"': "aé",
        "null": None,
        "1.50": "1.50",
        "1e999": "1e999",
        "true": "true",
        '{ "a" : [1, "b c"] }': '{"a":[1,"b c"]}',
    }
    assert [text_of_value(msgspec.Raw(text.encode())) for text in texts] == list(texts.values())
