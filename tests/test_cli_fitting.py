"""Tables on a terminal: words wrap, numbers are never cut."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cascade.cli.fitting import print_table

NAME = "qwen2.5-coder-0.5b-instruct-q4_k_m"
CHAIN = f"gemma-3-270m-q4_k_m ≥0.8 → {NAME} ≥0.45 → qwen2.5-coder-1.5b-instruct-q4_k_m"


def shown(
    width: int, columns: list[str], rows: list[list[str]], words: list[str]
) -> tuple[str, list[str]]:
    """Return what is printed on a terminal of a width, whole and by line."""
    out = io.StringIO()
    console = Console(file=out, width=width, highlight=False, no_color=True)
    print_table(console, columns, rows, words=words)
    return out.getvalue(), [line.rstrip() for line in out.getvalue().splitlines()]


@pytest.mark.parametrize("width", [200, 100, 80, 60, 30])
def test_numbers_are_whole_at_any_width(width: int) -> None:
    """A cost can be read whether or not the names beside it fit."""
    numbers = ["$0.00000592", "0.8321", "22.1%"]
    columns, rows = ["cost", "quality", "saving", "policy"], [[*numbers, CHAIN]]
    whole, _ = shown(width, columns, rows, ["policy"])
    assert all(number in whole for number in numbers)
    assert "…" not in whole


@pytest.mark.parametrize("width", [100, 80, 60])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """Where some layout fits, it is used."""
    rows = [["$0.00000592", "0.8321", "22.1%", CHAIN], ["$0.1", "0.9", "-", "always [bold]a[/]"]]
    _, lines = shown(width, ["cost", "quality", "saving", "policy"], rows, ["policy"])
    assert max(map(len, lines)) <= width
    assert len({line.index("%") for line in lines if "%" in line}) == 1  # one column


def test_words_that_do_not_fit_beside_numbers_stand_above_them() -> None:
    """Many numbers leave no room for a long name: it gets a line of its own."""
    columns = ["model", *(f"figure {i}" for i in range(6))]
    rows = [[NAME, *("0.123 → 0.4" for _ in range(6))], ["", *("0.5" for _ in range(6))]]
    _, lines = shown(80, columns, rows, ["model"])
    assert lines == [
        "model",
        "   figure 0     figure 1     figure 2     figure 3     figure 4     figure 5",
        NAME,
        "0.123 → 0.4  0.123 → 0.4  0.123 → 0.4  0.123 → 0.4  0.123 → 0.4  0.123 → 0.4",
        "        0.5          0.5          0.5          0.5          0.5          0.5",
    ]


def test_headers_wrap_before_names_lose_their_line() -> None:
    """A long header over short numbers is broken between its words."""
    rows = [["small", "0.1", "0.2"]]
    _, lines = shown(36, ["model", "mean log-probability", "answer length"], rows, ["model"])
    assert lines == [
        "                  mean  answer",
        "model  log-probability  length",
        "small              0.1     0.2",
    ]
