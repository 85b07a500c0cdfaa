"""JSON as PostgreSQL's `jsonb` holds it, and when two JSON objects are the same.

Python takes `true` for 1, and `1e16` comes back from the database as 10000000000000000: what is answered, pushed and
hashed before it has been stored must be what is read afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any


class JsonObject(dict[str, Any]):
    """A JSON object as `jsonb` holds it, equal to another by JSON's rules: `true` is not 1, and 1.0 is.

    Any comparison with a plain dictionary, too, goes by these rules, so a row that holds one differs as JSON does.
    """

    def __init__(self, value: Mapping[str, Any]) -> None:
        super().__init__({key: _as_jsonb_stores_it(inner) for key, inner in value.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and canonical_json(self) == canonical_json(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    # As any dictionary's.
    __hash__ = None


def canonical_json(value: Any) -> str:
    """Return the one text of all that is the same JSON: keys in order, and whole numbers without a point."""
    return json.dumps(_whole_floats_as_integers(value), sort_keys=True)


def _as_jsonb_stores_it(value: Any) -> Any:
    """Return a value as it will be read: `jsonb` writes every number out, and knows no negative zero."""
    if isinstance(value, dict):
        return {key: _as_jsonb_stores_it(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_jsonb_stores_it(inner) for inner in value]
    if isinstance(value, float):
        written = jsonb_number_text(value)
        return float(written) if "." in written else int(written)
    return value


def jsonb_number_text(number: float) -> str:
    """Return a number as `jsonb` writes it: without an exponent, so that six letters may become hundreds."""
    # What is sent is the shortest text of the number, whose digits are the ones that are kept.
    return format(Decimal(repr(number)) + 0, "f")


def _whole_floats_as_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_floats_as_integers(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_whole_floats_as_integers(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(Decimal(repr(value)))
    return value
