"""JSON as other programs write it, and what their authors are told where it is none. Pure."""

from __future__ import annotations

import re
from typing import Any

import pydantic_core

_BOM = "\ufeff"
# Each escape in turn, so that a backslash that is itself escaped begins none.
_ESCAPE_PATTERN = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
# What a text that is not JSON was made by, as a rule.
_NOT_JSON_TEXT_HINTS = (
    (re.compile(r"[^\x00]?\x00"), "UTF-16 or UTF-32: write UTF-8"),
    (re.compile(r"\s*\{'"), "single quotes: a language's own way to show a value is not JSON"),
    (re.compile(r"\s*[aO]:\d+:"), "PHP's own serialization: use json_encode"),
)
_NOT_A_JSON_NUMBER = re.compile(r"[:\[,]\s*-?(?:NaN|Infinity)\b")
_NOT_UTF8_BYTES_HINTS = {
    b"\xff\xfe": "UTF-16: write UTF-8",
    b"\xfe\xff": "UTF-16: write UTF-8",
    b"\xac\xed": "Java's own serialization: give Spring's RabbitTemplate a Jackson2JsonMessageConverter",
    b"\x1f\x8b": "compressed: publish the body as it is",
    b"\x80": "a Python pickle: publish JSON",
}


def decode_json(text: str) -> Any:
    """Return what a text of JSON says. Raises ValueError, for the author of the text and without repeating it.

    A byte order mark is skipped. Half a surrogate pair, which a text cut inside an emoji ends with, becomes U+FFFD. Of
    a key that comes twice, the last counts.
    """
    text = text.removeprefix(_BOM)
    try:
        return pydantic_core.from_json(text, allow_inf_nan=False)
    except ValueError as invalid:
        whole = _ESCAPE_PATTERN.sub(_replace_lone_surrogate, text)
        if whole == text:
            raise ValueError(_hint_for_invalid_json(text) or str(invalid)) from None
    try:
        return pydantic_core.from_json(whole, allow_inf_nan=False)
    except ValueError as invalid:
        raise ValueError(_hint_for_invalid_json(text) or str(invalid)) from None


def hint_for_undecodable_bytes(body: bytes) -> str | None:
    """Return what a body that is not UTF-8 looks like."""
    return next((hint for start, hint in _NOT_UTF8_BYTES_HINTS.items() if body.startswith(start)), None)


def _replace_lone_surrogate(escape: re.Match[str]) -> str:
    return r"\ufffd" if escape[1] else escape[0]


def _hint_for_invalid_json(text: str) -> str | None:
    for form, hint in _NOT_JSON_TEXT_HINTS:
        if form.match(text):
            return hint
    return "NaN and Infinity are no JSON: leave the key out, or write null" if _NOT_A_JSON_NUMBER.search(text) else None
