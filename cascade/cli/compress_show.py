"""A compressed prompt beside the one it was made from, for reading in a terminal."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from cascade.types import Message

__all__ = ["show"]

MOST_WORDS = 4_000
"""Words up to which two texts are compared word by word; longer ones by lines."""

_WORD = re.compile(r"\s+|[^\s]+")


def show(before: Sequence[Message], after: Sequence[Message], console: Console) -> None:
    """Print every message; what was left out is struck through, what was put in its place is green.

    Where there are no colours these are in ``[-…-]`` and ``{+…+}``.
    """
    kept = {id(message) for message in after}
    place = 0
    for message in before:
        same = id(message) in kept
        other = None
        if same:
            other = message
            place = next(i for i in range(place, len(after)) if after[i] is message) + 1
        elif place < len(after) and after[place].role == message.role and len(after) == len(before):
            other = after[place]
            place += 1
        console.print(Text(f"{message.role}", style="bold"))
        coloured = console.color_system is not None
        told = _difference(_text(message), "" if other is None else _text(other), coloured=coloured)
        console.print(told, soft_wrap=True)
        console.print()


def _text(message: Message) -> str:
    content = message.content
    if isinstance(content, str):
        return content
    return "\n".join(str(part.get("text", f"<{part.get('type')}>")) for part in content or ())


def _difference(before: str, after: str, *, coloured: bool) -> Text:
    """Return both texts in one; without colours, as `git diff --word-diff` has it."""
    if before == after:
        return Text(before)
    first, second = _WORD.findall(before), _WORD.findall(after)
    if max(len(first), len(second)) > MOST_WORDS:
        first, second = before.splitlines(keepends=True), after.splitlines(keepends=True)
    found = Text()
    matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            found.append("".join(first[i:j]))
            continue
        gone, new = _visible("".join(first[i:j])), "".join(second[k:m])
        if not coloured:
            gone, new = (f"[-{gone}-]" if gone else ""), (f"{{+{new}+}}" if new else "")
        found.append(gone, style="red strike")
        found.append(new, style="green")
    return found


def _visible(removed: str) -> str:
    """Return what was removed so that spaces and line breaks in it can be seen."""
    if removed.strip():
        return removed
    return removed.replace(" ", "·").replace("\n", "↵\n")
