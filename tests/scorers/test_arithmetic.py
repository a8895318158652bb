"""Equations of an answer: the quick way reads what the thorough one does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scorers.arithmetic import WINDOW, _blank_words, _read_equation, _read_simple, check_arithmetic

_PIECES = st.sampled_from(
    [
        *(
            "1",
            "2",
            "12",
            "3.5",
            "1,250",
            "1,25",
            ".5",
            "5.",
            "12,345.6",
            "٣",
            "=",
            "= ",
            " = ",
            "+",
        ),
        *(
            " + ",
            "-",
            "*",
            "/",
            " x ",
            "X",
            "%",
            "$",
            "(",
            ")",
            ",",
            ".",
            ". ",
            " ",
            "   ",
            "\n",
            "\t",
        ),
        *("boxes", "a", "é", "×", "8 of them" + " " * WINDOW, "\x1c"),
    ]
)


@given(st.lists(_PIECES, max_size=40))
def test_what_is_read_quickly_is_what_is_read_thoroughly(pieces: list[str]) -> None:
    """Of every equation of a text, wherever the one before ends."""
    text = _blank_words("".join(pieces))
    equals, before = text.find("="), 0
    while equals >= 0:
        following = text.find("=", equals + 1)
        start = max(before, equals - WINDOW)
        quick = _read_simple(text, text[::-1], start, equals)
        if quick is not None:
            assert quick == _read_equation(text, start, equals, following)
        before, equals = equals + 1, following


def test_plain_equations_are_read_quickly() -> None:
    """Two numbers and a result, behind the end of a sentence too."""
    for text in ("          . 12.5 * 4 = 50.", " of them; 51 x 8 = 408", "51-8=43"):
        assert _read_simple(text, text[::-1], 0, text.find("=")) is not None
    text = "Well. 12.5 * 4 = 50 of them, so 51 x 8 = 408"
    assert check_arithmetic(text).equations == 2
    assert check_arithmetic(text).wrong == 0
    assert check_arithmetic(text.replace("408", "500")).wrong == 1
