"""Texts of other people's making, for the database, for people and for terminals. Pure."""

from __future__ import annotations

import unicodedata

_TRUNCATION_MARK = "… (cut)"


def replace_nul_characters(text: str) -> str:
    """Return a text as PostgreSQL stores it: NUL is replaced."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def truncate(text: str, *, max_length: int) -> str:
    """Return a text of no more than `max_length` characters, which says so where it was cut."""
    return text if len(text) <= max_length else text[: max_length - len(_TRUNCATION_MARK)] + _TRUNCATION_MARK


def count_with_noun(number: int, noun: str) -> str:
    """Return a number of things in words: `1 operation`, `2 operations`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def escape_for_terminal(text: str) -> str:
    """Return a text that a terminal shows in one line and in its own order.

    What moves the cursor, ends the line, hides or turns around what follows is written as an escape.
    """
    return text if text.isprintable() else "".join(map(_escape_character, text))


def _escape_character(character: str) -> str:
    if character.isprintable():
        return character
    # A space of another width, such as French puts before a colon, does no harm.
    return " " if unicodedata.category(character) == "Zs" else character.encode("unicode_escape").decode()
