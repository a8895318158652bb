"""ASCII text is searched by narrower patterns: what they find is what the wide ones find."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from scorers.claims import _DATE, _DATE_BEFORE, _DATE_CHARS
from scorers.features import prompt
from scorers.features.answer import _TONE

_PIECES = [
    *(
        "i think",
        "let x =",
        "let me",
        "don't know",
        "around",
        "rounded",
        "nearest",
        "not sure",
        "so",
    ),
    *("may be", "cannot be determined", "1,250.5", "12", ".5", "x1", "3,50", "'s", "Maria's", "_a"),
    *(" ", "  ", "\n", ".", ",", "'", "-", "(", "12/31/2024", "1.2.2023", "%"),
]
plain_texts = st.lists(
    st.sampled_from(_PIECES) | st.text(st.characters(max_codepoint=127), max_size=3), max_size=30
).map("".join)


@given(plain_texts)
def test_numbers_and_words_are_found_alike(text: str) -> None:
    """By the pattern for any text, and by the one for ASCII."""
    assert prompt.written_numbers(text) == prompt._NUMBER.findall(text)
    lowered = text.lower()
    assert prompt._ASCII_WORD.findall(lowered) == prompt._WORD.findall(lowered)


@given(plain_texts)
def test_phrases_are_found_alike(text: str) -> None:
    """A blank that is no ASCII makes the text take the other way, and changes no count."""
    lowered = text.lower()
    assert _TONE(lowered) == _TONE(f"{lowered} \u2003")


@given(plain_texts)
def test_a_date_that_begins_early_is_found_whole(text: str) -> None:
    """Though no more of the line is searched than it may fill."""

    def early(found: re.Match[str] | None) -> str | None:
        return found.group() if found and found.start() < _DATE_BEFORE else None

    near = _DATE.search(text, 0, _DATE_BEFORE + _DATE_CHARS)
    assert early(near) == early(_DATE.search(text))
