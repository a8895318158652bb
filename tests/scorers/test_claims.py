"""Where an answer's claim stands, and how equations are recomputed, in the cases that speed made delicate."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.arithmetic import check_arithmetic, evaluate_expression
from scorers.claims import _MARKER, _ends, _marker_ends, find_claim

_MARKED = st.sampled_from(
    [
        *("####", "###", "#", "\\boxed{", "\\BOXED {", "answer", "Answer is", "ans", "A", "a", ":"),
        *(" :", "\n", "\x1c:", "output", "is", "=", " ", "  ", "12", "plain words", "anſwer", "{"),
    ]
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("So we add.\nThe final answer is 12, I think.", "12"),
        ("We get 3.\nA: 7 apples\nand more", "7"),
        ("We get 3.\n  Output : 9 in all", "9"),
        (
            "It is extra: 5 or 4, as we have seen above, and so the total is 6.",
            "6",
        ),  # "a:" inside a line is no marker
        ("answer:\n  A: 4 of them\n", "4"),
        ("Long words first.\n#### 41", "41"),
        ("thus \\boxed{ 8 } and nothing else to be said here at all, really nothing", "8"),
        ("THE ANSWER IS 15 because it was asked for in capitals", "15"),
        ("The anſwer iſ 16, in long letters, as it was once printed in books", "16"),
    ],
    ids=[
        "prefix",
        "line start",
        "blanks before",
        "inside a line",
        "after a marker",
        "hashes",
        "boxed",
        "capitals",
        "long s",
    ],
)
def test_markers_are_found(text: str, value: str) -> None:
    """By what stands there, wherever the search may leap to."""
    assert find_claim(text).value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("We first count them all and so in the end the total number of boxes is 21.", "21"),
        ("There are many of them, hence she has, when all is counted, 22 left over today.", "22"),
        ("İn total, and after a long count of many of them, it comes to be 23 in the end.", "23"),
    ],
    ids=["so", "hence", "dotted I"],
)
def test_conclusions_are_found(text: str, value: str) -> None:
    """An answer without a marker claims what its last conclusion says."""
    claim = find_claim(text)
    assert (claim.value, claim.marked) == (value, False)


def test_markers_are_counted_and_compared() -> None:
    """One that says something else is a conflict."""
    claim = find_claim("The answer is 3. No, wait.\nAnswer: 4\nThe answer is 4, then.")
    assert (claim.value, claim.markers, claim.conflicts) == ("4", 3, 1)


@pytest.mark.parametrize(
    ("text", "equations", "wrong"),
    [
        ("There are 45 + 6 = 51 boxes.", 1, 0),
        ("He runs 3 x 60 = <<3*60=180>>180 meters.", 1, 0),
        ("8. There are 45 + 6 = 51 boxes.", 0, 0),  # "8." belongs to what is before the equation
        ("In 1999 he had 7 * 8 = 55 of them.", 1, 1),
        ("2 + 45 + 6 = 53", 1, 0),
        ("(45 + 6) * 2 = 102", 1, 0),
        ("10 / 0 = 5", 0, 0),
        ("1,000 - 250.5 = 749.5", 1, 0),
        ("5 - .5 = 4.5", 1, 0),
        ("١٢ + ٣ = 15", 1, 0),
    ],
    ids=[
        "plain",
        "annotated",
        "point before",
        "number before",
        "three operands",
        "brackets",
        "by zero",
        "thousands",
        "bare point",
        "other digits",
    ],
)
def test_equations_are_recomputed(text: str, equations: int, wrong: int) -> None:
    """Those of two numbers, which take a shorter way, and all others."""
    found = check_arithmetic(text)
    assert (found.equations, found.wrong) == (equations, wrong)


def test_operands_from_nowhere_are_counted() -> None:
    """Known ones, and results of earlier equations, are explained."""
    found = check_arithmetic("5 + 7 = 12, then 12 * 3 = 36.", {5.0})
    assert (found.operands, found.unexplained) == (4, 2)


@pytest.mark.parametrize(
    ("text", "value"),
    [("6 / 4", 1.5), ("6/0", math.nan), ("9 - 12", -3.0), ("2 * 3 + 1", 7.0), ("1 +", math.nan)],
)
def test_expressions_have_values(text: str, value: float) -> None:
    """Or NaN."""
    assert evaluate_expression(text) == pytest.approx(value, nan_ok=True)


@given(st.lists(_MARKED, max_size=30).map("".join))
def test_markers_are_found_whichever_way_they_are_looked_for(text: str) -> None:
    """Most answers are not searched for every marker."""
    assert _marker_ends(text) == _ends(_MARKER, text)
