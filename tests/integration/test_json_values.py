"""What a configuration is held as, asked of PostgreSQL itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, select
from sqlalchemy.dialects.postgresql import JSONB

from app.api.request_bodies import MAX_JSON_NUMBER
from app.domain.json_values import JsonObject, canonical_json
from app.unit_of_work import unit_of_work

NUMBERS = st.one_of(
    st.integers(-MAX_JSON_NUMBER - 1, MAX_JSON_NUMBER),
    st.floats(-float(2**63), float(2**63), allow_nan=False, exclude_max=True),
)
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(st.characters(codec="utf-8", exclude_characters="\0")))
KEYS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


def read_back(app: Flask, value: dict[str, Any]) -> Any:
    with app.app_context(), unit_of_work() as work:
        return work.session.scalar(select(bindparam("value", value, type_=JSONB)))


@given_settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=OBJECTS)
def test_any_object_is_what_is_read_back(web: Flask, value: dict[str, Any]) -> None:
    stored = JsonObject(value)

    read = read_back(web, stored)

    assert json.dumps(read, sort_keys=True) == json.dumps(stored, sort_keys=True)
    assert canonical_json(read) == canonical_json(value)


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (1e16, "10000000000000000"),
        (2.0**60, "1152921504606847000"),
        (-1e18, "-1000000000000000000"),
        (-0.0, "0.0"),
        (1e-7, "1e-07"),
        (1.0, "1.0"),
        (5e-324, "5e-324"),
    ],
)
def test_a_number_is_written_out_as_it_is_kept(web: Flask, sent: float, read: str) -> None:
    assert json.dumps(JsonObject({"n": sent})["n"]) == read
    assert json.dumps(read_back(web, {"n": sent})["n"]) == read
