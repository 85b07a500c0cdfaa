"""JSON's equality, and JSON as PostgreSQL holds it; `tests/integration/test_json_values.py` asks PostgreSQL itself."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from app.domain.json_values import JsonObject, canonical_json


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": True}, {"a": 1}),
        ({"a": False}, {"a": 0}),
        ({"a": [True]}, {"a": [1]}),
        ({"a": {"b": [{"c": 0}]}}, {"a": {"b": [{"c": False}]}}),
        ({"a": True}, {"a": 1.0}),
        ({"a": None}, {}),
        ({"a": "1"}, {"a": 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_what_differs_in_json_differs_whatever_python_says(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert JsonObject(one) != other
    assert other != JsonObject(one)
    assert JsonObject(one) != JsonObject(other)
    # As a row's values are compared.
    assert (1, JsonObject(one)) != (1, other)
    assert canonical_json(one) != canonical_json(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1e16}, {"a": 10_000_000_000_000_000}),
        ({"a": 0.0}, {"a": -0.0}),
        ({"a": -0.0}, {"a": 0}),
        ({"a": [-2.0, 1.5e300]}, {"a": [-2, int(Decimal("1.5e300"))]}),
        ({}, {}),
    ],
)
def test_what_is_the_same_in_json_is_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert JsonObject(one) == other
    assert other == JsonObject(one)
    assert canonical_json(JsonObject(one)) == canonical_json(JsonObject(other))


@pytest.mark.parametrize("text", ["1.0", '"1.0', "\\", '\\"1.0', "[2.0, 1e+16]", ": 3.0"])
def test_what_looks_like_a_number_in_a_text_is_left_alone(text: str) -> None:
    assert json.loads(canonical_json({text: [text, 1.0]})) == {text: [text, 1]}
    assert canonical_json({text: [text, 1.0]}) == json.dumps({text: [text, 1]})
    assert JsonObject({text: text}) == {text: text}


def test_an_object_is_no_list_and_no_text() -> None:
    assert JsonObject({}) != []
    assert JsonObject({}) is not None
    assert JsonObject({}) != "{}"
