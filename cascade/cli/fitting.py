"""Prints tables so that they fit the terminal: words wrap, numbers are never cut.

Rich shrinks every column alike when a table is too wide, and a cost that reads ``$0.00…`` says nothing.
Here the columns of words give way first. Where that is not enough the first of them gets a line of
its own above the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

__all__ = ["print_table", "stdout_console"]

PIPE_WIDTH = 220
"""Characters a line may have in a pipe or a file, where nothing has to fit."""

WORDS = 16
"""Characters that a column of words keeps at least, where it has as many."""

_GAP = 2


def stdout_console() -> Console:
    """Return a console for standard output: as wide as the terminal, or wide in a pipe."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=PIPE_WIDTH, highlight=False)


def print_table(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    words: Sequence[str],
) -> None:
    """Print a table, as wide as the console at most if any layout allows it.

    Args:
        console: Where to.
        columns: Headers.
        rows: Cells as console markup, one for each header.
        words: Headers of the columns that may wrap, to the left; the others hold numbers, to the right.
    """
    is_words = [column in words for column in columns]
    widths = _widths(columns, rows, is_words, console.width)
    fits = sum(widths) + _GAP * (len(columns) - 1) <= console.width
    if fits or not is_words[0]:
        console.print(_table(columns, rows, widths, is_words), crop=False)
        return
    widths = _widths(columns[1:], [row[1:] for row in rows], is_words[1:], console.width)
    _print_stacked(console, columns, rows, widths, is_words[1:])


def _print_stacked(
    console: Console,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    is_words: Sequence[bool],
) -> None:
    """Print the first cell of each row on a line of its own, the others below it."""
    console.print(f"[bold]{columns[0]}[/]")
    head = _table(columns[1:], [], widths, is_words)
    console.print(head, crop=False)
    last = None
    for row in rows:
        if row[0] and row[0] != last:
            console.print(row[0])
        last = row[0]
        body = _table(columns[1:], [row[1:]], widths, is_words)
        body.show_header = False
        console.print(body, crop=False)


def _table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    is_words: Sequence[bool],
) -> Table:
    # Rich would shrink the columns once more if the table were as wide as it pleases.
    whole = sum(widths) + _GAP * (len(widths) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    table.width = whole
    for column, width, left in zip(columns, widths, is_words, strict=True):
        table.add_column(column, justify="left" if left else "right", width=width, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _widths(
    columns: Sequence[str], rows: Sequence[Sequence[str]], is_words: Sequence[bool], room: int
) -> list[int]:
    """Return the widths of columns that fit, words giving way before headers; else the tightest."""
    room -= _GAP * (len(columns) - 1)
    widest = [_width(column, rows, i) for i, column in enumerate(columns)]
    tight = [
        widest[i] if is_words[i] else _width(_longest_word(column), rows, i)
        for i, column in enumerate(columns)
    ]
    widths = widest
    for numbers in (widest, tight):
        widths = list(numbers)
        while sum(widths) > room:
            able = [i for i, left in enumerate(is_words) if left and widths[i] > WORDS]
            if not able:
                break
            widths[max(able, key=lambda i: widths[i])] -= 1
        if sum(widths) <= room:
            break
    return widths


def _width(header: str, rows: Sequence[Sequence[str]], column: int) -> int:
    cells = [Text.from_markup(row[column]).cell_len for row in rows]
    return max([Text(header).cell_len, *cells])


def _longest_word(header: str) -> str:
    return max(header.split() or [""], key=len)
