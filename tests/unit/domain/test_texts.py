"""Texts of other people's making, for the database, for people and for terminals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.texts import escape_for_terminal, replace_nul_characters, truncate


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("Grüße, 東京 ☃ 👍", "Grüße, 東京 ☃ 👍"),
        ("échec\u202f: délai\u00a0dépassé", "échec : délai dépassé"),
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x9b2J", r"\x9b2J"),
        ("over\rwritten", r"over\rwritten"),
        ("forged\nrow\u2028and\u2029another\x85one", r"forged\nrow\u2028and\u2029another\x85one"),
        ("a\tb\x07\x08\x7f\x00", r"a\tb\x07\x08\x7f\x00"),
        (
            "turned \u202eround\u202c \u2066so\u2069 \u200fand \u061cso",
            r"turned \u202eround\u202c \u2066so\u2069 \u200fand \u061cso",
        ),
        ("un\u200bseen \ufeff\u00ad", r"un\u200bseen \ufeff\xad"),
        ("\ud83d", r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
    ],
    ids=repr,
)
def test_what_a_terminal_would_obey_is_written_as_an_escape(text: str, shown: str) -> None:
    assert escape_for_terminal(text) == shown


@given(st.text())
def test_whatever_is_shown_is_one_line_and_printable(text: str) -> None:
    assert escape_for_terminal(text).isprintable()


@given(st.text(max_size=30), st.integers(10, 20))
def test_what_is_cut_fits_and_says_so(text: str, longest: int) -> None:
    shown = truncate(text, max_length=longest)

    assert len(shown) <= longest
    assert shown == text or (shown.endswith("… (cut)") and text.startswith(shown.removesuffix("… (cut)")))


@given(st.text())
def test_what_is_stored_has_no_nul_and_the_same_length(text: str) -> None:
    assert "\x00" not in replace_nul_characters(text)
    assert len(replace_nul_characters(text)) == len(text)
