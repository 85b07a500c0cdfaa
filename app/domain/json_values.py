"""JSON as PostgreSQL's `jsonb` holds it, and when two JSON objects are the same.

Python takes `true` for 1, and `1e16` comes back from the database as 10000000000000000: what is answered, pushed and
hashed before it has been stored must be what is read afterwards.

A configuration may be a hundred thousand values, and whoever works on them value by value keeps everybody else waiting,
in a web process's only thread. So this is done by what reads and writes JSON, and here for numbers with a point alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

# What a whole number with a point or an exponent ends with, as Python writes it; it may stand in a text, too.
_WHOLE_FLOAT_END = re.compile(r"\.0(?!\d)|e\+\d")
# Each text of JSON as a whole, so that nothing in it is taken for a number; or a whole number that is written so.
_TEXT_OR_WHOLE_FLOAT = re.compile(
    r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|(?P<whole_float>-?\d++(?:\.0(?!\d)|(?:\.\d++)?e\+\d++))'
)


class JsonObject(dict[str, Any]):
    """A JSON object as `jsonb` holds it, equal to another by JSON's rules: `true` is not 1, and 1.0 is.

    Any comparison with a plain dictionary, too, goes by these rules, so a row that holds one differs as JSON does.
    """

    def __init__(self, value: Mapping[str, Any]) -> None:
        super().__init__(json.loads(json.dumps(value), parse_float=_as_jsonb_stores_it))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, dict) and canonical_json(self) == canonical_json(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    # As any dictionary's.
    __hash__ = None


def canonical_json(value: Any) -> str:
    """Return the one text of all that is the same JSON: keys in order, and whole numbers without a point."""
    text = json.dumps(value, sort_keys=True)
    return _TEXT_OR_WHOLE_FLOAT.sub(_without_point, text) if _WHOLE_FLOAT_END.search(text) else text


def _without_point(match: re.Match[str]) -> str:
    number = match["whole_float"]
    if number is None:
        return match[0]
    return str(int(Decimal(number))) if "e" in number or number == "-0.0" else number.removesuffix(".0")


def _as_jsonb_stores_it(number: str) -> float | int:
    """Return a number as it will be read: `jsonb` writes every number out, and knows no negative zero."""
    if "e" not in number:
        # Negative zero and zero are zero.
        return float(number) + 0.0
    written = jsonb_number_text(float(number))
    return float(written) if "." in written else int(written)


def jsonb_number_text(number: float) -> str:
    """Return a number as `jsonb` writes it: without an exponent, so that six letters may become hundreds."""
    # What is sent is the shortest text of the number, whose digits are the ones that are kept.
    return format(Decimal(repr(number)) + 0, "f")
